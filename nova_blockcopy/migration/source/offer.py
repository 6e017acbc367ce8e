# SPDX-License-Identifier: Apache-2.0
"""The disks that a source offers to a destination."""

import dataclasses
from collections.abc import Mapping

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The disks of one guest, and the bases that were made for them.

    ``source`` is the name of the source host, and ``boot`` its boot id.
    ``home`` is how the destination's libvirt reaches it. ``tls`` means that
    the exports will be encrypted. ``xml`` is the running domain, to see
    whether the destination can run it; empty if the caller of the engine
    takes care of that.
    """

    source: str
    boot: str
    home: model.Endpoint
    mode: model.Mode
    tls: bool
    bases: Mapping[str, model.BaseRequest]
    disks: tuple[model.SourceDisk, ...]
    selection: plan.Selection
    xml: str = ''

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each disk as the guest sees it, in bytes."""
        return {disk.disk: disk.size_bytes for disk in self.disks}

    @property
    def images(self) -> tuple[tuple[model.Image, int], ...]:
        """The images that travel, each with the size of its disk."""
        return tuple(
            (image, disk.size_bytes)
            for disk in self.disks
            for image in (
                model.chain(disk.image)
                if self.bases[disk.disk].whole
                else (disk.image,)
            )
        )


#: For recovery, which makes no offer.
NOTHING = Offer(
    source='',
    boot='',
    home=model.Endpoint(uri=''),
    mode=model.Mode.DIRECT,
    tls=False,
    bases={},
    disks=(),
    selection=plan.Selection(moves=(), left_alone=()),
)


def check_answer(offer: Offer, moves: tuple[model.Move, ...]) -> None:
    """Pass if a destination's answer is about the disks that were offered.

    The source exports the image that a move names, and the switchover points
    the guest's disks at these exports.

    :param moves: the destination's answer
    :raises PeerError: the answer is about something else
    """
    offered = [disk.disk for disk in offer.disks]
    answered = [move.disk for move in moves]
    wrong = offered != answered or any(
        not _fits(move, disk, offer.bases[disk.disk])
        for move, disk in zip(moves, offer.disks, strict=False)
    )
    if wrong:
        raise exception.PeerError(
            operation='prepare',
            reason=f'it was asked for the disks {offered} and their bases, '
            f'and its answer for {answered} differs. Nothing was changed. '
            f'Check the destination host.',
        )


def _fits(
    move: model.Move, disk: model.SourceDisk, request: model.BaseRequest
) -> bool:
    layered = disk.image.backing is not None and not request.whole
    return (
        move == plan.paired(disk, move.base, whole=request.whole)
        and move.base.path == request.path
        and move.base.format is (request.format or disk.image.format)
        and (move.base.backing is not None) == layered
    )
