# SPDX-License-Identifier: Apache-2.0
"""The facts that Nova's part needs after a crash, for the journal.

Nova has them only in the memory of the nova-compute that migrates. Its
database already names the volume attachments of the destination, so the ones
of the source could not be found again.
"""

import dataclasses
from typing import Any

from nova_blockcopy.nova import compat

_ACTIVE = 'active'
_VM_STATE = 'vm_state'
_REQUEST = 'request_id'
_MIGRATE_DATA = 'migrate_data'
_BLOCK_DEVICES = 'source_bdms'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """The facts about one live migration. Runs on the source.

    ``vm_state`` is the instance's from before the migration. ``request_id``
    is that of the user's request. ``migrate_data`` is Nova's data of the
    migration. ``source_bdms`` are the block device mappings with the
    connections of this host. The last two are None if the journal has none.
    """

    vm_state: str = _ACTIVE
    request_id: str = ''
    migrate_data: Any = None
    source_bdms: Any = None


def make(
    context: Any, instance: Any, migrate_data: Any, post_method: Any
) -> Memo:
    """The facts about a live migration that begins.

    ``ComputeManager._do_live_migration`` reads the block device mappings
    before the destination changes them, and gives them to no one but its own
    callbacks.

    :param post_method: Nova's callback for a success
    """
    return Memo(
        vm_state=instance.vm_state,
        request_id=context.request_id,
        migrate_data=migrate_data,
        source_bdms=getattr(post_method, 'keywords', {}).get(_BLOCK_DEVICES),
    )


def pack(memo: Memo) -> dict[str, Any]:
    """The same as plain JSON types."""
    packed = compat.NovaObjectSerializer().serialize_entity
    context = compat.get_admin_context()
    return {
        _VM_STATE: memo.vm_state,
        _REQUEST: memo.request_id,
        _MIGRATE_DATA: packed(context, memo.migrate_data),
        _BLOCK_DEVICES: packed(context, memo.source_bdms),
    }


def request_id(packed: dict[str, Any]) -> str:
    """The id of the user's request; empty if the journal does not have it."""
    return str(packed.get(_REQUEST, ''))


def unpack(context: Any, packed: dict[str, Any]) -> Memo:
    """The facts from a journal.

    :param context: for the objects of Nova
    """
    unpacked = compat.NovaObjectSerializer().deserialize_entity
    return Memo(
        vm_state=packed.get(_VM_STATE, _ACTIVE),
        request_id=request_id(packed),
        migrate_data=unpacked(context, packed.get(_MIGRATE_DATA)),
        source_bdms=unpacked(context, packed.get(_BLOCK_DEVICES)),
    )
