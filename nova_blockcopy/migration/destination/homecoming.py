# SPDX-License-Identifier: Apache-2.0
"""The pivot of a guest to the bases, and the proof of the pivot.

Here the authoritative copy changes from the source to this host.
"""

import threading

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy import transplant
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.destination import copying
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


def come_home(
    copies: copying.Copying,
    page: journal.Page,
    cancelled: threading.Event,
    watch: progress.Watch,
    *,
    without_source: bool,
    again: bool = False,
) -> None:
    """Pivot all disks of a guest, then prove both definitions of the guest.

    :param without_source: the exports are gone for good, so pivot only if each
        base has all writes of the guest
    :param again: the source has seen that all exports run, so a disk whose
        pivot is refused may be copied again
    :raises JobFailed: some disk does not use the base
    :raises PivotRefused: libvirt refused a pivot
    :raises NotReady: a copy did not become ready for the pivot in time
    """
    guest = copies.guest
    note_pivoted(guest, page)
    ended = guest.power() is hypervisor.Power.OFF
    if not (ended and _all_pivoted(page.record)):
        _come_over(
            *(copies, page, cancelled, watch),
            without_source=without_source,
            again=again,
        )
    _settle_definition(guest, page.record)
    page.note(
        states.State.RELEASING,
        'all disks are proven to be on this host',
        authority=model.Role.DESTINATION,
    )


def _all_pivoted(record: journal.Record) -> bool:
    return all(move.disk in record.pivoted for move in record.moves)


def _come_over(
    copies: copying.Copying,
    page: journal.Page,
    cancelled: threading.Event,
    watch: progress.Watch,
    *,
    without_source: bool,
    again: bool,
) -> None:
    guest = copies.guest
    try:
        _pivot(copies, page, without_source=without_source)
    except (
        exception.JobFailed,
        exception.NotReady,
        exception.PivotRefused,
    ) as e:
        refused = isinstance(e, exception.PivotRefused)
        if not page.record.pivoted or (refused and not again):
            raise
        LOG.warning(
            'The disks that did not pivot are copied again: %s',
            e,
        )
        _follow(copies, page, cancelled, watch)
    copies.pauses.end()  # an earlier attempt may have left the guest paused
    copying.speed_up(guest, page)


def _follow(
    copies: copying.Copying,
    page: journal.Page,
    cancelled: threading.Event,
    watch: progress.Watch,
) -> None:
    """Copy the disks again that did not pivot, and pivot them.

    A disk that has pivoted cannot go back. The others can follow, because the
    source serves them until the release.
    """
    copies.pauses.end()  # a dead export has stopped it, and may be back
    copies.group.abort_refused()
    copies.run(cancelled, watch)
    _pivot(copies, page)


def _pivot(
    copies: copying.Copying,
    page: journal.Page,
    *,
    without_source: bool = False,
) -> None:
    def pivoted(disk: str) -> None:
        page.note(
            states.State.PIVOTING,
            f'{disk} is on this host',
            pivoted=(*page.record.pivoted, disk),
        )

    copies.group.look()  # raises if another program has changed a job
    with copies.pauses.standing_still():
        if without_source:
            _check_complete(copies)
        copies.group.pivot(pivoted)


def note_pivoted(guest: hypervisor.Guest, page: journal.Page) -> None:
    """Note the disks that have pivoted, if this process was killed before.

    A pivot takes place in QEMU. The note follows.
    """
    record = page.record
    if guest.power() is hypervisor.Power.OFF:
        return
    disks = domxml.disks(guest.running_xml())
    found = tuple(
        move.disk
        for move in record.moves
        if move.disk in record.pivoted
        or (
            move.disk in disks and domxml.at_image(disks[move.disk], move.base)
        )
    )
    if found != record.pivoted:
        page.note(record.state, 'found on their bases', pivoted=found)


def _check_complete(copies: copying.Copying) -> None:
    """Pass if each base has all writes that the guest has seen completed.

    A copy that is not ready, or that has data left to copy, may lack writes.
    The guest must stand still.

    :raises JobFailed: some base may lack writes
    """
    for disk in copies.group.look():
        if not disk.ready or disk.processed_bytes < disk.total_bytes:
            raise exception.JobFailed(
                disk=disk.disk,
                reason='its base may lack writes of the guest. Let the guest '
                'use its disks on the source.',
            )


def _settle_definition(
    guest: hypervisor.Guest, record: journal.Record
) -> None:
    """Make the persistent definition name the bases, and check the result.

    Only the disks that moved change. The others are the caller's: a Cinder
    volume may have another path on this host than on the source.

    At a pivot, libvirt changes the persistent definition only if the disk has
    the same source there as in the live one, and reports no error otherwise
    (qemuBlockJobRewriteConfigDiskSource, src/qemu/qemu_blockjob.c).
    """
    present = guest.persistent_xml()
    if present is None:
        return
    wanted = domxml.point_at_bases(record.persistent_xml, record.moves)
    targets = [move.disk for move in record.moves]
    guest.define(transplant.restore_images(present, wanted, targets))
    defined = guest.persistent_xml() or ''
    for move in record.moves:
        if not domxml.at_image(domxml.disk(defined, move.disk), move.base):
            raise exception.JobFailed(
                disk=move.disk,
                reason=f'the persistent definition does not name '
                f'{move.base.path}. Correct it with "virsh edit", and settle '
                f'the migration.',
            )
