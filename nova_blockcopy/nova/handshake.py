# SPDX-License-Identifier: Apache-2.0
"""The agreement of two hosts about a migration, inside Nova's own data.

The terms are an entry of ``migrate_data.bdms`` with the serial
``nova-blockcopy``. Nova passes the entries on through all hosts, also
through those without this plugin. It ignores an entry whose serial belongs
to no disk (``_update_volume_xml`` in nova/virt/libvirt/migration.py).

The destination offers, the source agrees, and the destination answers with
the bases that it has made. If the destination does not run this plugin, it
offers nothing, and the source refuses to copy local disks there. If the
source does not run the plugin, it never agrees, and Nova migrates alone.
"""

import dataclasses
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.nova import compat

SERIAL = 'nova-blockcopy'
VERSION = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of one migration.

    ``bases`` are by the path of the disk's image on the source. ``host`` is
    the destination's name in Nova, at which the source asks for the rest.
    ``images`` is the type of images that the destination makes.
    """

    version: int = VERSION
    agreed: bool = False
    host: str = ''
    images: str = ''
    bases: dict[str, model.BaseRequest] = dataclasses.field(
        default_factory=dict
    )


def read(migrate_data: Any) -> Terms | None:
    """The latest terms; None without terms, or with another version."""
    if 'bdms' not in migrate_data or not migrate_data.bdms:
        return None
    for entry in migrate_data.bdms:
        if entry.serial == SERIAL:
            return _unpacked(entry.connection_info)
    return None


def _unpacked(info: Any) -> Terms | None:
    if not isinstance(info, dict) or info.get('version') != VERSION:
        return None
    try:
        return wire.unpack(info, Terms)
    except ValueError:
        return None


def agreed(migrate_data: Any) -> bool:
    """Whether both hosts take part."""
    terms = read(migrate_data)
    return terms is not None and terms.agreed


def write(migrate_data: Any, terms: Terms) -> None:
    """Put the terms in, in place of earlier ones."""
    others = list(migrate_data.bdms) if 'bdms' in migrate_data else []
    entry = compat.BDMInfo(
        serial=SERIAL, bus='', dev='', type='', format=None, boot_index=None
    )
    entry.connection_info = wire.pack(terms)
    migrate_data.bdms = [
        *(other for other in others if other.serial != SERIAL),
        entry,
    ]
