# SPDX-License-Identifier: Apache-2.0
"""The merge of a guest's deltas into the disks, to undo a freeze.

If the guest runs, libvirt merges the deltas by block commits. If the guest is
off, qemu-img merges them. The lowest delta of a disk is removed first. So if
the lowest delta is gone, all deltas were merged, or none was ever written
to.
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
from nova_blockcopy.host import holders
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import definition

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merger:
    """Merges the deltas of one guest into the disks. Runs on the source.

    ``connect`` leads to this host's libvirt.
    """

    guest: hypervisor.Guest
    connect: hypervisor.Connect
    settings: conf.Settings

    def merge(self, moves: tuple[model.Move, ...], before: str) -> None:
        """Merge all deltas, and have the guest use the disks.

        :param before: the guest's definition from before the first freeze;
            empty for a transient guest
        :raises BlockCopyError: some disk was not merged; nothing is lost, and
            the caller may try again
        """
        frozen = tuple(move for move in moves if move.deltas)
        if frozen and not self._merged_live(frozen):
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
            LOG.warning(
                'Guest %s ended while its deltas were merged: %s',
                *(self.guest.name, e),
            )
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
            # from now on the guest writes to the disk: the deltas are old
            deltas.remove(paths[disk])

        for job in jobs:
            if job.at_base():
                _check_unused(paths[job.disk][-1])
                merged(job.disk)
        # a commit does not cross the network, so no limit is needed
        group = copygroup.CopyGroup(driver, self.guest, jobs, self.settings, 0)
        group.start()
        group.follow(threading.Event(), lambda _state, _disks: None)
        with self.guest.standing_still():
            group.pivot(merged)
        self.guest.wake()  # an earlier attempt may have left it paused

    def _merge_at_rest(self, move: model.Move) -> None:
        present = deltas.present(move.deltas)
        if move.deltas[0] in present:  # else all have been merged
            # the last delta in the record may not exist
            deltas.commit(
                present[-1],
                move.source.path,
                deltas.time_limit(self.settings.stall_timeout, present),
            )


def drop(moves: tuple[model.Move, ...]) -> None:
    """Remove the deltas of disks. Nothing may use the deltas any more."""
    deltas.remove([path for move in moves for path in move.deltas])


def _check_unused(path: str) -> None:
    """Pass if no process has a delta open.

    If libvirtd was killed while freezing a disk, libvirt may not know that
    QEMU writes to the delta.

    :raises ImageError: a process has the delta open
    """
    users = holders.of(path) if deltas.present([path]) else ()
    if users:
        raise exception.ImageError(
            path=path,
            reason=f'{", ".join(users)} has this delta open, but libvirt does '
            f'not know that the guest uses it. The delta was not removed, '
            f'because it holds writes of the guest. Shut the guest down from '
            f'within.',
        )
