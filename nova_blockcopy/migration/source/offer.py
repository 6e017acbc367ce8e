# SPDX-License-Identifier: Apache-2.0
"""The disks that a source offers to a destination."""

import dataclasses
from collections.abc import Mapping

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
