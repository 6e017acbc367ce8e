# SPDX-License-Identifier: Apache-2.0
"""What two hosts tell each other about a migration, inside Nova's own data.

It travels as an entry of ``migrate_data.bdms`` with a serial of our own:
Nova passes entries on through all hosts, even those without this plugin,
and ignores one whose serial no disk has (_update_volume_xml in
nova/virt/libvirt/migration.py).

The destination offers, the source agrees, the destination answers with the
bases that it made. A host without the plugin never offers and never agrees.
"""

import dataclasses
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.nova import compat

SERIAL = 'nova-blockcopy'
VERSION = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """``bases`` are by the path of the disk's image on the source.

    ``tls`` is what the destination has as ``[blockcopy] export_tls``.
    """

    version: int = VERSION
    agreed: bool = False
    tls: bool = False
    bases: dict[str, model.BaseRequest] = dataclasses.field(
        default_factory=dict
    )


def read(migrate_data: Any) -> Terms | None:
    """What was said so far; None if nothing, or not in our version."""
    if 'bdms' not in migrate_data or not migrate_data.bdms:
        return None
    for entry in migrate_data.bdms:
        if entry.serial == SERIAL:
            return _unpacked(entry.connection_info)
    return None


def _unpacked(info: dict[str, Any]) -> Terms | None:
    if info.get('version') != VERSION:
        return None
    try:
        return wire.unpack(info, Terms)
    except ValueError:
        return None


def agreed(migrate_data: Any) -> bool:
    terms = read(migrate_data)
    return terms is not None and terms.agreed


def write(migrate_data: Any, terms: Terms) -> None:
    """Put the terms in, in place of what was said before."""
    others = list(migrate_data.bdms) if 'bdms' in migrate_data else []
    entry = compat.BDMInfo(
        serial=SERIAL, bus='', dev='', type='', format=None, boot_index=None
    )
    entry.connection_info = wire.pack(terms)
    migrate_data.bdms = [
        *(other for other in others if other.serial != SERIAL),
        entry,
    ]
