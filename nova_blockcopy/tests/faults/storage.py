# SPDX-License-Identifier: Apache-2.0
"""Faults of the images, the deltas, the journals and the clock."""

from collections.abc import Callable
from collections.abc import Iterator

import libvirt

from nova_blockcopy.states import State
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import stage as stages
from nova_blockcopy.tests.lab import failing
from nova_blockcopy.tests.lab import host as hosts

FAULTS: dict[str, faults.Fault] = {}
_fault = faults.into(FAULTS)


def _full(it: stages.Stage, at: hosts.Host, name: str) -> Iterator[None]:
    beds.fill_room(at, name)
    yield
    it.wait(lambda: it.has_ended)
    yield
    beds.empty_room(at)
    where = it.where()
    if it.pause_reason(where) == libvirt.VIR_DOMAIN_PAUSED_IOERROR:
        it.notes.append('an operator resumed the guest when there was room')
        it.virsh(where, 'resume', it.guest)


@_fault(
    'base-no-room',
    'ENOSPC on the base, a sparse file; there is room again after the end.',
    kinds=('raw',),
    states=faults.until(State.PIVOTING),
)
def base_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.away, 'images')


@_fault(
    'base-thin-no-room',
    'ENOSPC on the base, a loop device over a sparse file, like a thin '
    'volume; there is room again after the end.',
    kinds=('block',),
    states=faults.until(State.PIVOTING),
)
def base_thin_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.away, 'images')


@_fault(
    'base-io-error',
    'EIO on each write to the base, a loop device, until the first run has '
    'ended.',
    kinds=('block',),
    base_kinds=('failing',),
    states=faults.until(State.PIVOTING),
)
def base_io_error(it: stages.Stage) -> Iterator[None]:
    failing.fail(it.away, failing=True)
    yield
    it.wait(lambda: it.has_ended)
    yield
    failing.fail(it.away, failing=False)


@_fault(
    'delta-no-room',
    'ENOSPC on the deltas; there is room again after the end.',
    modes=faults.SEEDED,
)
def delta_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.home, 'deltas')


@_fault(
    'source-journal-no-room',
    'ENOSPC on the journal of the source; there is room again after the end.',
)
def source_journal_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.home, 'journal')


@_fault(
    'destination-journal-no-room',
    'ENOSPC on the journal of the destination; there is room again after '
    'the end.',
)
def destination_journal_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.away, 'journal')


def _spoiled(it: stages.Stage, spoil: Callable[[str], str]) -> Iterator[None]:
    """Kill the source, spoil its journal, and repair it after a restart."""
    it.source.kill()
    path = it.home.outside(it.home.home / 'journal' / f'{it.guest}.json')
    right = path.read_text()
    path.write_text(spoil(right))
    yield
    yield
    it.source.start()
    if not it.wait(lambda: bool(it.events('unreadable')), timeout=20):
        it.notes.append('nobody noticed the journal')
    path.write_text(right)
    it.source.kill()


@_fault(
    'journal-truncated',
    'SIGKILL of the engine on the source, whose journal then lacks its second '
    'half. A person repairs the journal and starts the engine again.',
)
def journal_truncated(it: stages.Stage) -> Iterator[None]:
    yield from _spoiled(it, lambda text: text[: len(text) // 2])


@_fault(
    'journal-newer',
    'SIGKILL of the engine on the source, whose journal then is of a newer '
    'version. A person installs the right version.',
)
def journal_newer(it: stages.Stage) -> Iterator[None]:
    yield from _spoiled(
        it, lambda text: text.replace('"version": ', '"version": 9', 1)
    )


@_fault(
    'journal-unreadable',
    'The journal of the destination cannot be read until the first run has '
    'ended.',
    states=faults.ALL - {State.PREPARING},
)
def journal_unreadable(it: stages.Stage) -> Iterator[None]:
    path = it.away.outside(it.away.home / 'journal' / f'{it.guest}.json')
    aside = path.with_suffix('.aside')
    path.rename(aside)
    path.mkdir()
    yield
    it.wait(lambda: it.has_ended)
    yield
    path.rmdir()
    aside.rename(path)


@_fault(
    'clock-back',
    'The clock of both engines is set back by an hour.',
    explains=False,
)
def clock_back(it: stages.Stage) -> Iterator[None]:
    for each in (it.source, it.destination):
        each.ask('clock', seconds=-3600)
    yield


@_fault(
    'source-io-error',
    'EIO on each read of the disk on the source, a loop device, until the '
    'first run has ended. The guest may see errors meanwhile.',
    # not a file in memory: before a write of less than 4 KiB, QEMU reads the
    # page around it, and ignores the error (bdrv_co_pwritev_part() in
    # block/io.c), which damages the rest of the page
    kinds=('block',),
    shimmed=True,
)
def source_io_error(it: stages.Stage) -> Iterator[None]:
    it.erring = True
    shim = it.bed.shim(it.home)
    shim.fail_reads(failing=True)
    yield
    it.wait(lambda: it.has_ended)
    yield
    shim.fail_reads(failing=False)
