# SPDX-License-Identifier: Apache-2.0
"""The look at the hosts after a migration, which gathers the evidence."""

import pathlib
import tempfile
from typing import Any

import libvirt

from nova_blockcopy import exception
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.faults import verdict
from nova_blockcopy.tests.lab import contents
from nova_blockcopy.tests.lab import host as hosts
from nova_blockcopy.tests.lab import records
from nova_blockcopy.tests.lab import scene

_SECONDS = 30
_ACTIVE = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)


def look(stage: stages.Stage) -> dict[str, Any]:
    """Look at a guest whose migration is settled, or will never be.

    A guest that is off is started at the host of the authority. Afterwards,
    the guest writes, if it can.

    :returns: fields of :class:`verdict.Evidence`
    """
    found = _of_the_journal(stage)
    sides = {verdict.SOURCE: stage.home, verdict.DESTINATION: stage.away}
    for at in sides.values():
        _let_start_end(stage, at)
    states = {side: stage.state(at) for side, at in sides.items()}
    active = [side for side, state in states.items() if state in _ACTIVE]
    found['at'] = tuple(active)
    found['crashes'] = tuple(stage.made.guest.crashes())
    found['defined'] = tuple(s for s, state in states.items() if state)
    if len(active) > 1:
        return found
    side = active[0] if active else found['authority']
    at = sides[side]
    if not active:
        try:
            _start(stage, at)
        except libvirt.libvirtError as e:
            return {**found, 'startable': str(e)}
    elif not stage.paused:
        found['paused'] = not _goes_on(stage, at)
    else:
        found['paused'] = states[side] == libvirt.VIR_DOMAIN_PAUSED
        found['wanted_paused'] = True
    found |= _of_the_disks(stage, at)
    if not stage.paused:
        found['writes'] = stage.writes()
    found['errors'] = tuple(stage.made.guest.log.errors)
    return found


def _of_the_journal(stage: stages.Stage) -> dict[str, Any]:
    written = [
        event for event in stage.events('wrote') if event['role'] == 'source'
    ]
    settled = stage.events('settled')
    ends = stage.ends()
    last = ends[-1] if ends else {'ended': verdict.KILLED, 'reason': ''}
    tried = [event['unsettled'] for event in stage.events('unsettled')]
    journal = stage.home.home / 'journal' / f'{stage.guest}.json'
    return {
        'ended': last['ended'],
        'reason': tried[-1] if tried else last['reason'],
        'settled': settled[-1]['settled'] if settled else stage.settled,
        'closed': not stage.home.outside(journal).exists(),
        'authority': written[-1]['authority'] if written else verdict.SOURCE,
        'met': stage.met,
        'may_be_off': stage.off,
        'may_see_errors': stage.erring,
    }


def _start(stage: stages.Stage, at: hosts.Host) -> None:
    connection = at.connect()
    try:
        connection.lookupByUUIDString(stage.guest).createWithFlags(
            libvirt.VIR_DOMAIN_START_PAUSED
        )
    finally:
        connection.close()


def _let_start_end(stage: stages.Stage, at: hosts.Host) -> None:
    """Wait for libvirt to drop a guest that came, and never began to run.

    While the link is cut, QEMU waits for the exports as it starts. libvirt
    ends such a QEMU as soon as it can, which is after the link is back.
    """
    waiting.until(
        lambda: (
            stage.pause_reason(at) != libvirt.VIR_DOMAIN_PAUSED_STARTING_UP
        ),
        timeout=_SECONDS,
    )


def _goes_on(stage: stages.Stage, at: hosts.Host) -> bool:
    """Tell whether a guest runs, or is soon resumed."""
    return waiting.until(
        lambda: stage.state(at) == libvirt.VIR_DOMAIN_RUNNING,
        timeout=_SECONDS,
    )


def _of_the_disks(stage: stages.Stage, at: hosts.Host) -> dict[str, Any]:
    """Read the disks of a guest, which is paused meanwhile."""
    made = stage.made
    connection = at.connect()
    try:
        domain = connection.lookupByUUIDString(stage.guest)
        if domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING:
            domain.suspend()
        nodes = contents.sources(domain.XMLDesc())
        verdicts, changed, elsewhere = [], [], []
        for target, disk in made.disks_at(at).items():
            if disk.path not in str(nodes[target]):
                elsewhere.append(target)
            verdict_, digest = _read(stage, at, target, nodes[target])
            verdicts.append(verdict_)
            if digest != made.contents.get(target, digest):
                changed.append(target)
        if not stage.paused:
            domain.resume()
    finally:
        connection.close()
    return {
        'verdicts': tuple(verdicts),
        'changed': tuple(changed),
        'elsewhere': tuple(elsewhere),
    }


def _read(
    stage: stages.Stage, at: hosts.Host, target: str, node: contents.Node
) -> tuple[records.Verdict, str]:
    guest = stage.made.guest
    written = guest.log.written(target)
    with tempfile.TemporaryDirectory(dir=stage.bed.lab.directory) as scratch:
        into = pathlib.Path(scratch) / 'disk'
        contents.read(at, node, into)
        with into.open('rb') as f:
            f.seek(guest.region.offset)
            region = f.read(guest.region.length)
            f.seek(0)
            digest = scene.digest_of(f, guest.written)
    found = records.check(target, region, guest.region, written)
    return found, digest


def again(stage: stages.Stage, at: hosts.Host) -> str:
    """Migrate the guest once more, undisturbed.

    :param at: the host that the guest is on
    :returns: the error; '' if the guest arrived with all that it wrote
    """
    made = stage.made
    if at is made.away:
        made = made.reversed()
        made.empty_bases()
    try:
        made.run(made.migration())
    except exception.BlockCopyError as e:
        return f'{type(e).__name__}: {e}'
    seen = _of_the_disks(stage, made.away)
    bad = [v for v in seen['verdicts'] if not v.intact]
    if bad or seen['changed'] or seen['elsewhere']:
        return f'data is lost: {bad or seen}'
    return '' if stage.writes() else 'the guest does not write'
