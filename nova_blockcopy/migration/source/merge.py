# SPDX-License-Identifier: Apache-2.0
"""The deltas of a guest go into its disks, on the source: the way back.

By block commits of the running guest; by qemu-img where it does not run. The
deltas of a disk are removed in their order, the lowest one first. So where
the lowest one is gone, all were merged, or none was ever written to.
"""

import dataclasses
import threading

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.copies import group as copygroup
from nova_blockcopy.copies import job as copyjob
from nova_blockcopy.host import deltas
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.migration.source import definition

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merger:
    """Merges the deltas of one guest into its disks. Runs on the source.

    ``connect`` leads to this host's libvirt.
    """

    guest: hypervisor.Guest
    connect: hypervisor.Connect
    settings: conf.Settings

    def merge(self, moves: tuple[model.Move, ...], before: str) -> None:
        """Merge all deltas, and have the guest use its disks.

        :param before: the guest's definition from before the first freeze;
            empty if it is transient
        :raises BlockCopyError: some disk was not merged; nothing is lost, and
            the merge can be tried again
        """
        frozen = tuple(move for move in moves if move.deltas)
        if not self._merged_live(frozen):
            for move in frozen:
                self._merge_at_rest(move)
        disks = [move.disk for move in frozen]
        definition.restore(self.guest, before, disks)
        self.guest.wake()  # QEMU pauses a guest whose delta has no room
        drop(moves)

    def _merged_live(self, moves: tuple[model.Move, ...]) -> bool:
        """Merge by block commits; False if the guest is off."""
        if self.guest.power() is hypervisor.Power.OFF:
            return False
        try:
            self._merge_live(moves)
        except exception.BlockCopyError as e:
            if self.guest.power() is not hypervisor.Power.OFF:
                raise
            LOG.warning('Guest %s ended while merging: %s', self.guest.name, e)
            return False
        return True

    def _merge_live(self, moves: tuple[model.Move, ...]) -> None:
        driver = drivers.load(self.settings, self.connect)
        jobs = [
            copyjob.CommitJob(driver, self.guest, move.disk, move.source)
            for move in moves
        ]
        paths = {move.disk: move.deltas for move in moves}

        def merged(disk: str) -> None:
            # from now on the guest writes to the disk: its deltas are old
            deltas.remove(paths[disk])

        for job in jobs:
            if job.at_base():
                _check_unused(paths[job.disk][-1])
                merged(job.disk)
        # a commit does not cross the network: it needs no limit
        group = copygroup.CopyGroup(driver, self.guest, jobs, self.settings, 0)
        group.start()
        group.follow(threading.Event(), lambda _state, _disks: None)
        with self.guest.standing_still():
            group.pivot(merged)
        self.guest.wake()  # an earlier attempt may have left it paused

    def _merge_at_rest(self, move: model.Move) -> None:
        present = deltas.present(move.deltas)
        if move.deltas[0] in present:  # else they have been merged
            # the last one may have been planned only
            deltas.commit(
                present[-1],
                move.source.path,
                deltas.time_limit(self.settings.stall_timeout, present),
            )


def drop(moves: tuple[model.Move, ...]) -> None:
    """Remove the deltas of disks, which nothing uses any more."""
    deltas.remove([path for move in moves for path in move.deltas])


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
