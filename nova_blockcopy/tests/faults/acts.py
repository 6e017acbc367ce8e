# SPDX-License-Identifier: Apache-2.0
"""The table of acts of a guest's owner, for the soak.

An act is a generator like a fault, see :mod:`fault`. No act is a reason for a
migration to be stuck.
"""

import functools
from collections.abc import Iterator

import libvirt

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.faults import fault as faults
from nova_blockcopy.tests.faults import stage as stages

#: Seconds for which a guest is paused.
_PAUSE = 1.5
#: The states of a guest that runs, or that is about to end.
_RUNS = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_SHUTDOWN)
#: Seconds for which a guest may go on before it shuts itself down.
_PATIENCE = 30

ACTS: dict[str, faults.Fault] = {}
_act = functools.partial(faults.into(ACTS), explains=False)


@_act('pause', 'The owner pauses the guest, and resumes it after 1.5 s.')
def pause(it: stages.Stage) -> Iterator[None]:
    it.paused = it.suspend()
    yield
    it.last(_PAUSE)
    if it.paused and it.virsh(it.where(), 'resume', it.guest):
        it.paused = False
    yield
    if it.paused:  # the guest was on its way
        it.paused = not it.virsh(it.where(), 'resume', it.guest)


@_act('reboot', 'The guest reboots itself.')
def reboot(it: stages.Stage) -> Iterator[None]:
    it.made.guest.reboot(it.where())
    yield
    yield
    _start_over(it)


@_act('reset', 'The owner resets the guest.')
def reset(it: stages.Stage) -> Iterator[None]:
    it.virsh(it.where(), 'reset', it.guest)
    yield
    yield
    _start_over(it)


@_act('shut-down', 'The guest shuts itself down; it is started afterwards.')
def shut_down(it: stages.Stage) -> Iterator[None]:
    it.off = True
    it.made.guest.power_off(it.where())
    yield
    yield
    # a guest that stood still obeys only now
    waiting.until(lambda: not _runs(it), timeout=_PATIENCE)


@_act('plug', 'The owner plugs in a disk, and unplugs it after the first run.')
def plug(it: stages.Stage) -> Iterator[None]:
    at = it.where()
    file = at.home / 'images' / 'plugged.img'
    at.run('truncate', '--size', '4M', str(file))
    plugged = it.virsh(
        at,
        *('attach-disk', it.guest, str(file), 'vdh', '--live'),
        *('--targetbus', 'virtio', '--subdriver', 'raw'),
        *('--sourcetype', 'file'),
    )
    yield
    yield
    if plugged:
        it.virsh(it.where(), 'detach-disk', it.guest, 'vdh', '--live')
    at.run('rm', '-f', str(file))


def _runs(it: stages.Stage) -> bool:
    return any(it.state(at) in _RUNS for at in (it.home, it.away))


def _start_over(it: stages.Stage) -> None:
    """Reset a guest whose kernel stopped.

    Under TCG, a kernel that moves to another QEMU while it boots may panic or
    sleep. It does so too if libvirt migrates only the memory of the guest,
    without any disk of the engine.
    """
    at = it.where()
    if it.paused or it.state(at) != libvirt.VIR_DOMAIN_RUNNING or it.writes():
        return
    panicked = it.made.guest.panicked(at)
    it.notes.append(
        f'the kernel {"panicked" if panicked else "slept"} while it booted'
    )
    it.virsh(at, 'reset', it.guest)
