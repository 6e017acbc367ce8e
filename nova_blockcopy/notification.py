# SPDX-License-Identifier: Apache-2.0
"""The notifications about one migration, as Nova's bus carries them. Pure.

The layout is that of Nova's versioned notifications
(nova/notifications/objects/base.py). The classes are not Nova's own, because
its field for the action of an event takes only the actions of Nova itself
(``NotificationAction`` in nova/objects/fields.py).
"""

import dataclasses
import enum
from typing import Any

from nova_blockcopy import events
from nova_blockcopy import progress
from nova_blockcopy import states

_VERSION = '1.0'
_NAMESPACE = 'nova_blockcopy'


class Kind(enum.StrEnum):
    """The type of a notification."""

    #: This host has begun, or goes on after a restart of nova-compute.
    START = 'instance.blockcopy.start'
    #: The migration is in another phase, which has no type of its own.
    PHASE = 'instance.blockcopy.phase'
    #: All copies mirror: each write of the guest goes to both hosts.
    READY = 'instance.blockcopy.ready'
    #: The guest uses the disks of the destination.
    PIVOT = 'instance.blockcopy.pivot'
    #: The migration has completed, or was aborted on request.
    END = 'instance.blockcopy.end'
    #: The migration was undone, or is stuck.
    ERROR = 'instance.blockcopy.error'


_OF_STATES = {
    states.State.READY: Kind.READY,
    states.State.RELEASING: Kind.PIVOT,
}
_FAILURES = (events.Outcome.UNDONE, events.Outcome.STUCK)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk that moves."""

    #: The target of the disk in the guest, such as ``vda``.
    disk: str
    #: The size of the disk, in bytes.
    size_bytes: int
    #: The bytes that are copied.
    copied_bytes: int
    #: The bytes to copy, as far as they are known now.
    total_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The data of a notification."""

    #: The UUID of the instance.
    instance_uuid: str
    #: The name of the guest in libvirt.
    guest: str
    #: The id of the engine's migration, as in the journals.
    migration: str
    #: The host that tells this, by its name in Nova.
    host: str
    #: The side of this host: ``source`` or ``destination``.
    role: str
    #: The other host.
    peer: str
    #: ``seeded`` or ``direct``.
    mode: str
    #: The present phase, or the last one.
    phase: str
    #: The disks that move, each with its bytes.
    disks: tuple[Disk, ...]
    #: The bytes that are copied, for all disks.
    copied_bytes: int
    #: Seconds since the begin.
    duration: float
    #: Seconds of each phase that is over.
    phases: dict[str, float]
    #: The outcome: ``completed``, ``undone``, ``aborted`` or ``stuck``. Null
    #: before the end.
    outcome: str | None = None
    #: Seconds for which the guest depended on both hosts. Null before the end,
    #: and if it had not left the source.
    remote_window: float | None = None
    #: The reason why the guest is not on the destination. Null otherwise.
    error: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message for Nova's bus."""

    kind: Kind
    payload: Payload

    @property
    def is_error(self) -> bool:
        return self.kind is Kind.ERROR

    def primitive(self) -> dict[str, Any]:
        """The payload in plain JSON types."""
        data = {
            field.name: getattr(self.payload, field.name)
            for field in dataclasses.fields(self.payload)
        }
        data['disks'] = [
            _versioned('BlockCopyDiskPayload', dataclasses.asdict(each))
            for each in self.payload.disks
        ]
        return _versioned('BlockCopyPayload', data)


class Narrator:
    """Makes the notifications about one migration from its events.

    :param host: the name of this host in Nova
    :param started: the first event
    :param now: seconds, by a clock that never goes back
    """

    def __init__(self, host: str, started: events.Started, now: float) -> None:
        self._host = host
        self._subject = started.subject
        self._sizes = started.disks
        self._state = started.state
        self._began = now
        self._phases: dict[str, float] = {}
        self._figures = progress.Progress(state=started.state)

    def tell(self, event: events.Event, now: float) -> Notification | None:
        """Take in an event.

        :param now: seconds, by the same clock
        :returns: None if the event is worth no notification
        """
        match event:
            case events.Started():
                return self._told(Kind.START, now)
            case events.PhaseChanged():
                known = self._phases.get(event.before, 0.0)
                self._phases[str(event.before)] = known + event.seconds
                self._state = event.state
                kind = _OF_STATES.get(event.state, Kind.PHASE)
                return self._told(kind, now)
            case events.Progressed():
                self._figures = event.progress
            case events.Ended():
                return self._ended(event, now)
        return None

    def _ended(self, ended: events.Ended, now: float) -> Notification:
        self._phases = {str(k): v for k, v in ended.phases.items()}
        failed = ended.outcome in _FAILURES
        return self._told(
            *(Kind.ERROR if failed else Kind.END, now),
            outcome=str(ended.outcome),
            remote_window=None
            if ended.remote_window_s is None
            else _rounded(ended.remote_window_s),
            error=ended.reason or None,
        )

    def _told(self, kind: Kind, now: float, **values: Any) -> Notification:
        subject = self._subject
        return Notification(
            kind=kind,
            payload=Payload(
                instance_uuid=subject.guest,
                guest=subject.name,
                migration=subject.migration,
                host=self._host,
                role=str(subject.role),
                peer=subject.peer,
                mode=str(subject.mode),
                phase=str(self._state),
                disks=self._disks(),
                copied_bytes=self._figures.processed_bytes,
                duration=_rounded(now - self._began),
                phases={k: _rounded(v) for k, v in self._phases.items()},
                **values,
            ),
        )

    def _disks(self) -> tuple[Disk, ...]:
        known = {each.disk: each for each in self._figures.disks}
        return tuple(
            Disk(
                disk=disk,
                size_bytes=size,
                copied_bytes=known[disk].processed_bytes
                if disk in known
                else 0,
                total_bytes=known[disk].total_bytes if disk in known else 0,
            )
            for disk, size in self._sizes.items()
        )


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _versioned(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        'nova_object.name': name,
        'nova_object.namespace': _NAMESPACE,
        'nova_object.version': _VERSION,
        'nova_object.data': data,
    }
