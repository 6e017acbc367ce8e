# SPDX-License-Identifier: Apache-2.0
"""A person who settles a migration by hand, as the page about journals tells.

The other host will not come back.
"""

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.records import journal
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.lab import host as hosts

_ACTIVE = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)


def settle_at_home(it: stages.Stage) -> None:
    """Settle the migration of a guest whose disks are those of the source.

    A person does by hand what "nova-blockcopy adopt --here" does on the
    source. The engine must not run.
    """
    records, record = _read(it, it.home)
    it.kill(it.home, 'qemu-nbd')
    if it.state(it.home) in _ACTIVE:
        for move in record.moves:
            _merge_in_use(it, move)
    else:
        for move in record.moves:
            _merge(it, move)
        if record.definition:
            _define(it.home, record.definition)
    records.close(it.guest)
    it.settled = model.Role.SOURCE


def settle_away(it: stages.Stage) -> None:
    """Settle the migration of a guest that is on its bases.

    A person does by hand what "nova-blockcopy adopt --here" does on the
    destination. The engine must not run.

    :raises LabError: a definition does not name the bases
    """
    records, record = _read(it, it.away)
    bases = {move.disk: move.base.path for move in record.moves}
    for inactive in (False, True):
        wrong = strangers(_definition(it, it.away, inactive=inactive), bases)
        if wrong:
            raise hosts.LabError(f'Not on the bases: {", ".join(wrong)}.')
    records.close(it.guest)
    notes = it.away.home / 'journal' / 'received' / f'{it.guest}.json'
    it.away.outside(notes).unlink(missing_ok=True)
    it.settled = model.Role.DESTINATION


def _read(
    it: stages.Stage, at: hosts.Host
) -> tuple[journal.Journal, journal.Record]:
    records = journal.Journal(str(at.outside(at.home / 'journal')))
    record = records.find(it.guest)
    if record is None:
        raise hosts.LabError(f'Host {at.name} has no journal of the guest.')
    return records, record


def _merge_in_use(it: stages.Stage, move: model.Move) -> None:
    """Merge the deltas of a disk that the guest uses."""
    used = sources(_definition(it, it.home)).get(move.disk, '')
    if used in move.deltas:
        commit = ('blockcommit', it.guest, move.disk, '--active', '--wait')
        it.virsh(it.home, *commit, '--base', move.source.path)
        it.virsh(it.home, 'suspend', it.guest)
        it.virsh(it.home, 'blockjob', it.guest, move.disk, '--pivot')
    _remove(it, move)
    if used in move.deltas:
        it.virsh(it.home, 'resume', it.guest)


def _merge(it: stages.Stage, move: model.Move) -> None:
    """Merge the deltas of a guest that is off."""
    found = [path for path in move.deltas if it.home.outside(path).exists()]
    if found and found[0] == move.deltas[0]:
        it.home.run(
            *('qemu-img', 'commit', '-d', '-f', 'qcow2'),
            *('-b', move.source.path, found[-1]),
        )
    _remove(it, move)


def _remove(it: stages.Stage, move: model.Move) -> None:
    for path in move.deltas:
        it.home.outside(path).unlink(missing_ok=True)


def _define(at: hosts.Host, definition: str) -> None:
    connection = at.connect()
    try:
        connection.defineXML(definition)
    finally:
        connection.close()


def _definition(
    it: stages.Stage, at: hosts.Host, *, inactive: bool = False
) -> str:
    connection = at.connect()
    try:
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        domain = connection.lookupByUUIDString(it.guest)
        return str(domain.XMLDesc(flags))
    finally:
        connection.close()


def sources(definition: str) -> dict[str, str]:
    """Return the path of each local disk of a definition, by target."""
    return {
        str(disk.xpath('string(target/@dev)')): str(
            disk.xpath('string(source/@file | source/@dev)')
        )
        for disk in domxml.parse(definition).iterfind('devices/disk')
    }


def strangers(definition: str, bases: dict[str, str]) -> list[str]:
    """Return the disks of a definition that are not on their bases.

    :param bases: the path of each base, by disk
    """
    found = sources(definition)
    return [disk for disk, path in bases.items() if found.get(disk) != path]
