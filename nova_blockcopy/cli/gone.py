# SPDX-License-Identifier: Apache-2.0
"""The answers of a destination that will not come back."""

from nova_blockcopy import wire
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration import status

_OTHERS: dict[str, peer.Message] = {
    'qemu_log': {'log': ''},
    'firmware': {'files': {}},
}


class Gone:
    """A channel to a host that a person has declared to be off.

    It answers as a destination would that knows nothing of the guest, so the
    engine undoes a migration on the source alone.
    """

    def __init__(self) -> None:
        self._task: str | None = None

    def call(self, message: peer.Message) -> peer.Message:
        """Answer as if the order were carried out."""
        operation = message['operation']
        if operation != 'status':
            self._task = operation
            return _OTHERS.get(operation, {})
        found = status.Status(
            state=None,
            pivoted=(),
            power=hypervisor.Power.OFF,
            disks=(),
            task=status.Task(name=self._task, done=True),
        )
        answer: peer.Message = wire.pack(found)
        return answer
