# SPDX-License-Identifier: Apache-2.0
"""The merge of a guest's deltas into the disks, to undo a freeze.

If the guest runs, libvirt merges the deltas by block commits. If the guest is
off, qemu-img merges them. Then the lowest delta of a disk is renamed before
the others are removed. So if its name is gone, all deltas were merged, or none
was ever written to.
"""

import dataclasses
import threading
from collections.abc import Iterable

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.copies import group as copygroup
from nova_blockcopy.copies import job as copyjob
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import deltas
from nova_blockcopy.host import holders
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.migration import pauses
from nova_blockcopy.migration.source import definition
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merger:
    """Merges the deltas of one guest into the disks. Runs on the source.

    ``connect`` leads to this host's libvirt.
    """

    guest: hypervisor.Guest
    connect: hypervisor.Connect
    pauses: pauses.Pauses
    settings: conf.Settings

    def merge(self, moves: tuple[model.Move, ...], before: str) -> None:
        """Merge all deltas, and have the guest use the disks.

        An image that another program has put on top of a delta stays in use,
        on top of the disk.

        :param before: the guest's definition from before the first freeze;
            empty for a transient guest
        :raises BlockCopyError: some disk was not merged; nothing is lost, and
            the caller may try again
        """
        frozen = tuple(move for move in moves if move.deltas)
        if frozen and not self._merged_live(frozen):
            for move in frozen:
                self._merge_at_rest(move)
        definition.restore(self.guest, before, frozen)
        self.pauses.end()  # QEMU pauses a guest whose delta has no room
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
            LOG.warning('The guest ended while its deltas were merged: %s', e)
            return False
        return True

    def _merge_live(self, moves: tuple[model.Move, ...]) -> None:
        driver = drivers.load(self.settings, self.connect)
        disks = domxml.disks(self.guest.running_xml())
        for move in moves:
            if move.disk not in disks:
                # another program has detached the disk
                _check_unused(move.deltas)
                self._merge_at_rest(move)
        jobs = [
            self._job(driver, move, disks[move.disk])
            for move in moves
            if move.disk in disks
        ]
        by_disk = {move.disk: move for move in moves}
        merged = []

        def retire(disk: str) -> None:
            # From now on the guest writes to the disk: the deltas are old.
            # The guest is paused, and the removal of a large file takes time.
            deltas.retire(by_disk[disk].deltas[0])
            merged.append(by_disk[disk])

        for job in jobs:
            if job.at_base():
                _check_unused(by_disk[job.disk].deltas)
                retire(job.disk)
        # a commit does not cross the network, so no limit is needed
        group = copygroup.CopyGroup(driver, self.guest, jobs, self.settings, 0)
        group.start()
        group.follow(threading.Event(), lambda _state, _disks: None)
        try:
            with self.pauses.standing_still():
                group.pivot(retire)
        finally:
            drop(merged)
        self.pauses.end()  # an earlier attempt may have left it paused

    def _job(
        self, driver: contract.CopyDriver, move: model.Move, disk: model.Disk
    ) -> copyjob.Job:
        """Choose the job that merges the deltas of a disk.

        :raises Disturbed: the guest no longer uses the disk's image
        """
        paths = [layer.path for layer in disk.layers]
        if move.source.path not in paths:
            raise self.guest.disturbed(
                f'disk {move.disk} no longer uses {move.source.path}, '
                f'so its deltas cannot be merged, and were not removed: '
                f'{", ".join(move.deltas)}. Find out which images have the '
                f"guest's data, and settle the migration by hand.",
            )
        job = (driver, self.guest, move.disk, move.source)
        ours = [each for each in disk.layers if each.path in move.deltas]
        if paths[0] in (*move.deltas, move.source.path):
            return copyjob.CommitJob(*job)
        return copyjob.InnerCommitJob(*job, ours[0] if ours else move.top())

    def _merge_at_rest(self, move: model.Move) -> None:
        present = deltas.present(move.deltas)
        if move.deltas[0] not in present:
            return  # all have been merged
        # the last delta in the record may not exist
        there = dataclasses.replace(
            move, deltas=move.deltas[: move.deltas.index(present[-1]) + 1]
        )
        deltas.commit(
            there.top(),
            move.source,
            deltas.time_limit(self.settings.stall_timeout, present),
        )
        self._lower(move)

    def _lower(self, move: model.Move) -> None:
        """Put an image of another program on top of the merged disk."""
        xml = self.guest.persistent_xml()
        disk = domxml.disks(xml).get(move.disk) if xml else None
        if disk is None or not isinstance(disk.source, model.Image):
            return
        image = disk.source
        if image.path in (*move.deltas, move.source.path):
            return
        if images.info(image.path).get('full-backing-filename') in move.deltas:
            deltas.stand_on(
                dataclasses.replace(image, backing=move.source),
                self.settings.call_timeout,
            )


def drop(moves: Iterable[model.Move]) -> None:
    """Remove the deltas of disks. Nothing may use the deltas any more."""
    deltas.remove([path for move in moves for path in move.deltas])


def _check_unused(paths: tuple[str, ...]) -> None:
    """Pass if no process has a delta open.

    If libvirtd was killed while freezing a disk, libvirt may not know that
    QEMU writes to the delta.

    :raises ImageError: a process has the delta open
    """
    for path in deltas.present(paths):
        users = holders.of(path)
        if not users:
            continue
        raise exception.ImageError(
            path=path,
            reason=f'{", ".join(users)} has this delta open, but libvirt does '
            f'not know that the guest uses it. The delta was not removed, '
            f'because it holds writes of the guest. Shut the guest down from '
            f'within.',
        )
