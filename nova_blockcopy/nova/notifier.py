# SPDX-License-Identifier: Apache-2.0
"""The notifications about migrations on Nova's notification bus.

oslo.messaging repeats an attempt to send for ever by default, if the bus does
not answer (``[oslo_messaging_notifications] retry``). So a thread of its own
sends the notifications, and a migration never waits for the thread.
"""

import collections
import threading
import time
from typing import Any

from oslo_context import context as oslo_context

from nova_blockcopy import events
from nova_blockcopy import notification
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: The name of the thread that sends.
THREAD = 'nova-blockcopy-notifier'
#: Notifications that may wait for the bus.
_MOST = 200

_Waiting = tuple[str, notification.Notification]


class Notifier:
    """An observer that sends notifications about all migrations of a host.

    Thread-safe. What still waits when nova-compute ends is lost.

    :param host: the name of this host in Nova
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._narrators: dict[tuple[str, str], notification.Narrator] = {}
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._door = threading.Lock()
        self._works = False
        self._full = False

    def __call__(self, event: events.Event) -> None:
        if not compat.notifies():
            return
        now, current = time.monotonic(), oslo_context.get_current()
        request = current.request_id if current is not None else ''
        with self._door:
            told = self._narrator(event, now)
            if told is None:
                return
            self._wait(request, told)
            if self._works:
                return
            self._works = True
        work = logging.carried(self._work)
        threading.Thread(target=work, name=THREAD, daemon=True).start()

    def _narrator(
        self, event: events.Event, now: float
    ) -> notification.Notification | None:
        key = event.subject.guest, event.subject.role
        if isinstance(event, events.Started):
            self._narrators[key] = notification.Narrator(
                self._host, event, now
            )
        narrator = self._narrators.get(key)
        if isinstance(event, events.Ended):
            self._narrators.pop(key, None)
        return narrator.tell(event, now) if narrator else None

    def _wait(self, request: str, told: notification.Notification) -> None:
        """Let a notification wait; the oldest ones make room for it."""
        if len(self._waiting) >= _MOST:
            self._waiting.popleft()
            if not self._full:
                LOG.warning(
                    'Notifications are lost, because %s of them already wait '
                    'for the notification bus. Check [oslo_messaging_'
                    'notifications] and the bus. The migrations go on',
                    _MOST,
                )
            self._full = True
        self._waiting.append((request, told))

    def _work(self) -> None:
        """Send what waits, until nothing does."""
        while (first := self._next()) is not None:
            # this thread sends those of other guests, too
            with logging.about(first[1].payload.instance_uuid):
                try:
                    self._send(*first)
                except Exception as e:  # the next one may be sent
                    LOG.warning('A notification is not sent: %s', e)

    def _next(self) -> _Waiting | None:
        with self._door:
            self._works = bool(self._waiting)
            if not self._works:
                self._full = False
                return None
            return self._waiting.popleft()

    def _send(self, request: str, told: notification.Notification) -> None:
        context: Any = compat.get_admin_context()
        if request:
            context.request_id = request
        bus = compat.get_versioned_notifier(f'nova-compute:{self._host}')
        send = bus.error if told.is_error else bus.info
        send(context, str(told.kind), told.primitive())
