# SPDX-License-Identifier: Apache-2.0
"""Faults of the engines, and of other processes."""

import contextlib
import threading
from collections.abc import Iterator
from collections.abc import Sequence

import psutil

from nova_blockcopy.states import State
from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import stage as stages

FAULTS: dict[str, faults.Fault] = {}
_fault = faults.into(FAULTS)


@_fault('none', 'Nothing happens.', explains=False)
def none(_it: stages.Stage) -> Iterator[None]:
    yield


@_fault('source', 'SIGKILL of the engine on the source.')
def source(it: stages.Stage) -> Iterator[None]:
    it.source.kill()
    yield


@_fault('destination', 'SIGKILL of the engine on the destination.')
def destination(it: stages.Stage) -> Iterator[None]:
    it.destination.kill()
    it.destination.start()
    yield


@_fault('both', 'SIGKILL of the engines on both hosts.')
def both(it: stages.Stage) -> Iterator[None]:
    it.source.kill()
    it.destination.kill()
    yield


@_fault(
    'source-write',
    'SIGKILL of the engine on the source before the next write of its '
    'journal: the act of the state is done.',
)
def source_write(it: stages.Stage) -> Iterator[None]:
    it.source.ask('die', write=1)
    yield
    it.wait(lambda: it.has_ended)
    it.met = it.source.has_died()


@_fault(
    'destination-write',
    'SIGKILL of the engine on the destination before the next write of its '
    'journal; a restart.',
)
def destination_write(it: stages.Stage) -> Iterator[None]:
    it.destination.ask('die', write=1)
    yield
    it.wait(lambda: not it.destination.alive or it.has_ended)
    it.met = it.destination.has_died()
    it.destination.start()


@_fault(
    'destination-pivoted',
    'SIGKILL of the engine on the destination when a disk has pivoted and the '
    'journal does not tell it. The engine starts again when the first run of '
    'the migration has ended.',
    states=frozenset({State.READY, State.PIVOTING}),
)
def destination_pivoted(it: stages.Stage) -> Iterator[None]:
    it.destination.ask('die', pivoted=True)
    yield
    it.wait(lambda: it.has_ended)
    it.met = it.destination.has_died()


@_fault(
    'source-unit',
    'SIGKILL of the engine on the source, of its children and of the '
    'exporters, as a service manager does.',
)
def source_unit(it: stages.Stage) -> Iterator[None]:
    it.source.kill(unit=True)
    yield


@_fault(
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
            or it.has_ended_well
        )
    )


@_fault('source-libvirtd', 'SIGKILL of libvirtd on the source; a restart.')
def source_libvirtd(it: stages.Stage) -> Iterator[None]:
    it.kill(it.home, 'libvirtd')
    it.home.start_libvirtd()
    yield


@_fault(
    'destination-libvirtd',
    'SIGKILL of libvirtd on the destination; a restart.',
)
def destination_libvirtd(it: stages.Stage) -> Iterator[None]:
    it.kill(it.away, 'libvirtd')
    it.away.start_libvirtd()
    yield


@_fault(
    'libvirtd-stands-still', 'SIGSTOP of libvirtd on the destination, 8 s.'
)
def libvirtd_stands_still(it: stages.Stage) -> Iterator[None]:
    servers = [p for p in it.away.processes() if p.name() == 'libvirtd']
    # the harness itself may wait for an answer of this libvirtd meanwhile
    end = threading.Timer(8, _resume, [servers])
    for each in servers:
        each.suspend()
    end.start()
    yield
    end.join()


def _resume(processes: Sequence[psutil.Process]) -> None:
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.resume()


@_fault(
    'exporter',
    'SIGKILL of the exporters (``qemu-nbd``), or of the next ones.',
    states=faults.until(State.PIVOTING),
)
def exporter(it: stages.Stage) -> Iterator[None]:
    yield
    it.kill_next(it.home, 'qemu-nbd')


@_fault(
    'virsh',
    'SIGKILL of the next child ``virsh`` on the destination.',
    driver='virsh',
    states=faults.until(State.PIVOTING),
)
def virsh(it: stages.Stage) -> Iterator[None]:
    yield
    it.kill_next(it.away, 'virsh')


@_fault(
    'qemu-img',
    'SIGKILL of the next ``qemu-img`` on the destination, while seeding.',
    modes=faults.SEEDED,
    states=faults.until(State.SEEDING),
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


@_fault(
    'source-qemu',
    'SIGKILL of QEMU on the source.',
    states=faults.until(State.SWITCHING),
)
def source_qemu(it: stages.Stage) -> Iterator[None]:
    it.off = it.met = it.kill(it.home, 'qemu-system')
    yield


@_fault(
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
