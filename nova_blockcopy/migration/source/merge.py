# SPDX-License-Identifier: Apache-2.0
"""The deltas of a guest go into its disks, on the source: the way back.

By block commits of the running guest; by qemu-img where it does not run. The
deltas of a disk are removed in their order, the lowest one first. So where
the lowest one is gone, all were merged, or none was ever written to.
"""

import threading

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.copies import group as copygroup
from nova_blockcopy.copies import job as copyjob
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import deltas
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images

LOG = logging.getLogger(__name__)


def merge(
    guest: hypervisor.Guest,
    driver: contract.CopyDriver,
    settings: conf.Settings,
    moves: tuple[model.Move, ...],
) -> None:
    """Merge all deltas, and have the guest use its disks.

    :raises BlockCopyError: some disk was not merged; nothing is lost, and
        it can be tried again
    """
    if guest.power() is not hypervisor.Power.OFF:
        try:
            _live(guest, driver, settings, moves)
        except exception.BlockCopyError as e:
            if guest.power() is not hypervisor.Power.OFF:
                raise
            LOG.warning('Guest %s ended while merging: %s', guest.name, e)
        else:
            return
    for move in moves:
        _at_rest(move, settings)


def _live(
    guest: hypervisor.Guest,
    driver: contract.CopyDriver,
    settings: conf.Settings,
    moves: tuple[model.Move, ...],
) -> None:
    paths = {move.disk: move.deltas for move in moves}
    jobs = [
        copyjob.CommitJob(driver, guest, move.disk, move.source)
        for move in moves
    ]

    def merged(disk: str) -> None:
        # what the guest writes from now on is newer than its deltas
        deltas.remove(paths[disk])

    for job in jobs:
        if job.at_base():
            _check_unused(paths[job.disk][-1])
            merged(job.disk)
    # it does not cross the network, so no limit is needed
    group = copygroup.CopyGroup(guest.name, jobs, settings, 0)
    group.start()
    group.follow(threading.Event(), lambda _progress: None)
    with guest.standing_still():
        group.pivot(merged)
    guest.wake()  # if that was cut short the last time


def _check_unused(path: str) -> None:
    """Pass if no process has a delta open.

    A libvirt that was killed while it froze a disk may not know that its
    QEMU writes to the delta.
    """
    users = images.holders(path) if deltas.present([path]) else ()
    if users:
        raise exception.ImageError(
            path=path,
            reason=f'{", ".join(users)} has it open, although libvirt does '
            f'not know of it; it holds what the guest has written.',
        )


def _at_rest(move: model.Move, settings: conf.Settings) -> None:
    present = deltas.present(move.deltas)
    if move.deltas[0] in present:  # else they have been merged
        # the last one may have been planned only
        deltas.commit(
            present[-1],
            move.source.path,
            deltas.time_limit(settings.stall_timeout, present),
        )
