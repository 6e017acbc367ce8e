# SPDX-License-Identifier: Apache-2.0
"""The table of faults.

A fault is a generator with up to four parts. The harness goes on to the next
part at these moments:

1. The migration is held: its journal has the new state, and the act of that
   state has not begun.
2. The migration goes on.
3. The first run of the migration has ended, or its process has. Services that
   are dead are started again after this part.
4. The result has been judged; another migration follows.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.states import State
from nova_blockcopy.tests.faults import stage as stages

Act = Callable[[stages.Stage], Iterator[None]]

_ALL = frozenset(states.way(model.Mode.SEEDED)) - {State.ENDED}
_MODES = frozenset(model.Mode)
_BOTH = ('block', 'layered')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault and the cells of the table that it fits.

    ``driver`` is the only copy driver that it fits; '' for each. ``kinds``
    are the disks of the guest. ``about`` is for the documentation. A fault
    that ``explains`` nothing is no reason for a migration to be stuck.
    """

    name: str
    about: str
    act: Act
    states: frozenset[State] = _ALL
    modes: frozenset[model.Mode] = _MODES
    driver: str = ''
    kinds: tuple[str, ...] = _BOTH
    explains: bool = True

    def fits(self, mode: model.Mode, state: State) -> bool:
        """Whether the fault can happen in a state of a mode."""
        return (
            mode in self.modes
            and state in self.states
            and state in states.way(mode)
        )


FAULTS: dict[str, Fault] = {}


def fault(name: str, about: str, **values: object) -> Callable[[Act], Act]:
    """Put a fault into the table."""

    def put(act: Act) -> Act:
        FAULTS[name] = Fault(
            name=name,
            about=about,
            act=act,
            **values,  # type: ignore[arg-type]
        )
        return act

    return put


def _until(state: State) -> frozenset[State]:
    way = states.way(model.Mode.SEEDED)
    return frozenset(way[: way.index(state) + 1])


def _from(state: State) -> frozenset[State]:
    way = states.way(model.Mode.SEEDED)
    return frozenset(way[way.index(state) :]) - {State.ENDED}


@fault('none', 'Nothing happens.', explains=False)
def none(_it: stages.Stage) -> Iterator[None]:
    yield


# -- the engines ---------------------------------------------------------


@fault('source', 'SIGKILL of the engine on the source.')
def source(it: stages.Stage) -> Iterator[None]:
    it.source.kill()
    yield


@fault('destination', 'SIGKILL of the engine on the destination.')
def destination(it: stages.Stage) -> Iterator[None]:
    it.destination.kill()
    it.destination.start()
    yield


@fault('both', 'SIGKILL of the engines on both hosts.')
def both(it: stages.Stage) -> Iterator[None]:
    it.source.kill()
    it.destination.kill()
    yield


@fault(
    'source-unit',
    'SIGKILL of the engine on the source, of its children and of the '
    'exporters, as a service manager does.',
)
def source_unit(it: stages.Stage) -> Iterator[None]:
    it.source.kill(unit=True)
    yield


@fault(
    'destination-gone',
    'SIGKILL of the engine on the destination, which starts again only '
    'after two attempts of the source to settle the migration.',
)
def destination_gone(it: stages.Stage) -> Iterator[None]:
    it.destination.kill()
    yield
    yield
    it.source.start()
    it.wait(
        lambda: (
            len(it.events('unsettled')) >= 2
            or bool(it.events('closed'))
            or it.ends()[-1]['ended'] == 'refused'
        )
    )


# -- other processes -----------------------------------------------------


@fault('source-libvirtd', 'SIGKILL of libvirtd on the source; a restart.')
def source_libvirtd(it: stages.Stage) -> Iterator[None]:
    it.kill(it.home, 'libvirtd')
    it.home.start_libvirtd()
    yield


@fault(
    'destination-libvirtd',
    'SIGKILL of libvirtd on the destination; a restart.',
)
def destination_libvirtd(it: stages.Stage) -> Iterator[None]:
    it.kill(it.away, 'libvirtd')
    it.away.start_libvirtd()
    yield


@fault('libvirtd-stands-still', 'SIGSTOP of libvirtd on the destination, 8 s.')
def libvirtd_stands_still(it: stages.Stage) -> Iterator[None]:
    servers = [p for p in it.away.processes() if p.name() == 'libvirtd']
    for each in servers:
        each.suspend()
    yield
    it.last(8)
    for each in servers:
        each.resume()


@fault(
    'exporter',
    'SIGKILL of the exporters (``qemu-nbd``), or of the next ones.',
    states=_until(State.PIVOTING),
)
def exporter(it: stages.Stage) -> Iterator[None]:
    yield
    it.kill_next(it.home, 'qemu-nbd')


@fault(
    'virsh',
    'SIGKILL of the next child ``virsh`` on the destination.',
    driver='virsh',
    states=_until(State.PIVOTING),
)
def virsh(it: stages.Stage) -> Iterator[None]:
    yield
    it.kill_next(it.away, 'virsh')


@fault(
    'qemu-img',
    'SIGKILL of the next ``qemu-img`` on the destination, while seeding.',
    modes=frozenset({model.Mode.SEEDED}),
    states=_until(State.SEEDING),
)
def qemu_img(it: stages.Stage) -> Iterator[None]:
    yield
    it.wait(
        lambda: (
            it.has_ended
            or any(e['wrote'] == 'seeding' for e in it.events('wrote'))
        )
    )
    it.kill_next(it.away, 'qemu-img')


@fault(
    'source-qemu',
    'SIGKILL of QEMU on the source.',
    states=_until(State.SWITCHING),
)
def source_qemu(it: stages.Stage) -> Iterator[None]:
    it.off = it.met = it.kill(it.home, 'qemu-system')
    yield


@fault(
    'destination-qemu',
    'SIGKILL of QEMU on the destination, as soon as there is one.',
)
def destination_qemu(it: stages.Stage) -> Iterator[None]:
    it.off = True
    if it.kill(it.away, 'qemu-system'):
        yield
        return
    yield
    it.kill_next(it.away, 'qemu-system')


# -- the link and the channel --------------------------------------------


def _cut(
    it: stages.Stage, seconds: float, *, ways: tuple[bool, bool]
) -> Iterator[None]:
    """Drop packets for a time.

    :param ways: from the source, and from the destination
    """
    cut = stages.beds.cut
    for at, other, drop in (
        (it.home, it.away, ways[0]),
        (it.away, it.home, ways[1]),
    ):
        if drop:
            cut(at, other, drop=True)
    yield
    it.last(seconds)
    cut(it.home, it.away, drop=False)
    cut(it.away, it.home, drop=False)


@fault('link-5', 'All packets between the hosts are dropped for 5 s.')
def link_5(it: stages.Stage) -> Iterator[None]:
    yield from _cut(it, 5, ways=(True, True))


@fault('link-60', 'All packets between the hosts are dropped for 60 s.')
def link_60(it: stages.Stage) -> Iterator[None]:
    yield from _cut(it, 60, ways=(True, True))


@fault(
    'link-half-open',
    'All packets from the source to the destination are dropped for 40 s.',
)
def link_half_open(it: stages.Stage) -> Iterator[None]:
    yield from _cut(it, 40, ways=(True, False))


@fault('link-slow', 'The link has 2 Mbit/s for 15 s.', explains=False)
def link_slow(it: stages.Stage) -> Iterator[None]:
    it.bed.lab.set_link_rate(2)
    yield
    it.last(15)
    it.bed.lab.set_link_rate(None)


@fault('answers-lost', 'The next three answers of the destination are lost.')
def answers_lost(it: stages.Stage) -> Iterator[None]:
    it.source.ask('trouble', kind='lost', messages=3)
    yield


@fault(
    'answers-late',
    'The next three answers of the destination come 4 s late.',
    explains=False,
)
def answers_late(it: stages.Stage) -> Iterator[None]:
    it.source.ask('trouble', kind='late', messages=3)
    yield


@fault(
    'messages-twice',
    'The next twenty messages to the destination arrive twice.',
    explains=False,
)
def messages_twice(it: stages.Stage) -> Iterator[None]:
    it.source.ask('trouble', kind='twice', messages=20)
    yield


# -- room ----------------------------------------------------------------


def _full(it: stages.Stage, at: stages.hosts.Host, name: str) -> Iterator[None]:
    stages.beds.fill_room(at, name)
    yield
    it.wait(lambda: it.has_ended)
    yield
    stages.beds.empty_room(at)


@fault(
    'base-no-room',
    'ENOSPC on the base, a sparse file; there is room again after the end.',
    kinds=('raw',),
)
def base_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.away, 'images')


@fault(
    'base-thin-no-room',
    'ENOSPC on the base, a loop device over a sparse file, like a thin '
    'volume; there is room again after the end.',
    kinds=('block',),
)
def base_thin_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.away, 'images')


@fault(
    'delta-no-room',
    'ENOSPC on the deltas; there is room again after the end.',
    modes=frozenset({model.Mode.SEEDED}),
)
def delta_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.home, 'deltas')


@fault(
    'source-journal-no-room',
    'ENOSPC on the journal of the source; there is room again after the end.',
)
def source_journal_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.home, 'journal')


@fault(
    'destination-journal-no-room',
    'ENOSPC on the journal of the destination; there is room again after '
    'the end.',
)
def destination_journal_no_room(it: stages.Stage) -> Iterator[None]:
    yield from _full(it, it.away, 'journal')


# -- the journal and the clock -------------------------------------------


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


@fault(
    'journal-truncated',
    'SIGKILL of the engine on the source, whose journal then lacks its second '
    'half. A person repairs the journal and starts the engine again.',
)
def journal_truncated(it: stages.Stage) -> Iterator[None]:
    yield from _spoiled(it, lambda text: text[: len(text) // 2])


@fault(
    'journal-newer',
    'SIGKILL of the engine on the source, whose journal then is of a newer '
    'version. A person installs the right version.',
)
def journal_newer(it: stages.Stage) -> Iterator[None]:
    yield from _spoiled(
        it, lambda text: text.replace('"version": ', '"version": 9', 1)
    )


@fault(
    'journal-unreadable',
    'The journal of the destination cannot be read until the first run has '
    'ended.',
    states=_ALL - {State.PREPARING},
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


@fault(
    'clock-back',
    'The clock of both engines is set back by an hour.',
    explains=False,
)
def clock_back(it: stages.Stage) -> Iterator[None]:
    for each in (it.source, it.destination):
        each.ask('clock', seconds=-3600)
    yield


# -- others --------------------------------------------------------------


@fault(
    'foreign-snapshot',
    'Another tool takes an external snapshot of the guest, and commits it '
    'after the end.',
    explains=False,
)
def foreign_snapshot(it: stages.Stage) -> Iterator[None]:
    at, disk = it.where(), 'vdb'
    file = at.home / 'images' / 'foreign.qcow2'
    taken = it.virsh(
        at,
        *('snapshot-create-as', it.guest, '--disk-only', '--no-metadata'),
        *('--diskspec', f'{disk},snapshot=external,file={file}'),
        *('--diskspec', 'vda,snapshot=no'),
    )
    it.met = taken
    yield
    yield
    yield
    if taken:
        it.virsh(
            it.where(),
            *('blockcommit', it.guest, disk, '--active', '--pivot'),
            *('--wait', '--shallow'),
        )
        at.outside(file).unlink(missing_ok=True)


@fault('foreign-suspend', 'The owner pauses the guest.', explains=False)
def foreign_suspend(it: stages.Stage) -> Iterator[None]:
    it.paused = it.met = it.virsh(it.where(), 'suspend', it.guest)
    yield
    yield
    yield
    if it.paused:
        it.paused = False
        it.virsh(it.where(), 'resume', it.guest)


@fault(
    'foreign-pull',
    'Another tool begins a block pull, and aborts it after the end.',
    explains=False,
)
def foreign_pull(it: stages.Stage) -> Iterator[None]:
    at = it.where()
    begun = it.met = it.virsh(at, 'blockpull', it.guest, 'vdb', '1')
    yield
    it.wait(lambda: it.has_ended)
    yield
    if begun:
        it.virsh(it.where(), 'blockjob', it.guest, 'vdb', '--abort')


@fault(
    'foreign-dump',
    'Another tool dumps the memory of the guest.',
    explains=False,
)
def foreign_dump(it: stages.Stage) -> Iterator[None]:
    at = it.where()
    file = it.home.home / 'images' / 'foreign.dump'
    dumping = at.submit(
        it.virsh,
        *(at, 'dump', it.guest, str(file), '--memory-only', '--live'),
    )
    yield
    it.met = dumping.result()
    at.outside(file).unlink(missing_ok=True)
