# SPDX-License-Identifier: Apache-2.0
"""The notifications reach Nova's bus, and a bus that hangs harms nobody."""

import threading
from typing import Any

import fixtures
import nova.rpc
from oslo_context import context as oslo_context
from oslo_messaging import conffixture
from oslo_messaging.notify import _impl_test

from nova_blockcopy import events
from nova_blockcopy import states
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import notifier
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples

_SECONDS = 30
REQUEST = 'req-11111111-aaaa-bbbb-cccc-555555555555'


def start(observer: Any) -> None:
    observer(
        events.Started(
            subject=samples.subject(),
            state=states.State.PREPARING,
            limit=0,
            disks={'vda': 64},
        )
    )


def change(observer: Any, state: states.State) -> None:
    observer(
        events.PhaseChanged(
            subject=samples.subject(),
            before=states.State.PREPARING,
            state=state,
        )
    )


def end(observer: Any, outcome: events.Outcome) -> None:
    observer(
        events.Ended(
            subject=samples.subject(),
            outcome=outcome,
            reason='no room',
            copied_bytes=0,
            phases={},
        )
    )


class NotifierTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())
        bus = self.useFixture(conffixture.ConfFixture(compat.CONF))
        bus.transport_url = 'fake:/'
        self.addCleanup(_impl_test.reset)
        self.addCleanup(self.wait_for_thread)

    def begin(self, wanted: str = 'versioned') -> notifier.Notifier:
        """Nova has read its options and knows its bus."""
        self.conf.config(group='oslo_messaging_notifications', driver=['test'])
        self.conf.config(group='notifications', notification_format=wanted)
        nova.rpc.init(compat.CONF)
        self.addCleanup(nova.rpc.cleanup)
        return notifier.Notifier(base.HERE)

    def wait_for_thread(self) -> None:
        for thread in threading.enumerate():
            if thread.name == notifier.THREAD:
                thread.join(_SECONDS)

    def sent(self) -> list[Any]:
        """The context, the message and the priority of each."""
        self.wait_for_thread()
        return [each[:3] for each in _impl_test.NOTIFICATIONS]


class TestNotifier(NotifierTestCase):
    def test_the_bus_gets_each_one_in_order(self):
        made = self.begin()
        start(made)
        change(made, states.State.READY)
        end(made, events.Outcome.UNDONE)
        messages = [message for _context, message, _level in self.sent()]
        self.assertEqual(
            [
                ('instance.blockcopy.start', 'INFO'),
                ('instance.blockcopy.ready', 'INFO'),
                ('instance.blockcopy.error', 'ERROR'),
            ],
            [(each['event_type'], each['priority']) for each in messages],
        )
        for each in messages:
            self.assertEqual(f'nova-compute:{base.HERE}', each['publisher_id'])
            data = each['payload']['nova_object.data']
            self.assertEqual(samples.UUID, data['instance_uuid'])
            self.assertEqual(base.HERE, data['host'])
        self.assertEqual('no room', data['error'])

    def test_it_has_the_id_of_the_request(self):
        made = self.begin()
        self.context.request_id = REQUEST
        self.context.update_store()
        self.addCleanup(delattr, oslo_context._request_store, 'context')
        start(made)
        ((context, _message, _level),) = self.sent()
        self.assertEqual(REQUEST, context['request_id'])

    def test_novas_option_switches_them_off(self):
        made = self.begin('unversioned')
        start(made)
        end(made, events.Outcome.COMPLETED)
        self.assertEqual([], self.sent())

    def test_a_program_without_a_bus(self):
        self.assertIsNone(nova.rpc.NOTIFIER)
        start(notifier.Notifier(base.HERE))
        self.assertEqual([], self.lines.all)


class _Bus:
    """A bus that answers when it is told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.got: list[str] = []

    def info(self, _context: Any, kind: str, _payload: Any) -> None:
        self.answers.wait(_SECONDS)
        self.got.append(kind)


class TestBadBus(NotifierTestCase):
    def setUp(self):
        super().setUp()
        self.made = self.begin()

    def use(self, bus: Any) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{compat.__name__}.get_versioned_notifier', lambda _id: bus
            )
        )

    def test_a_bus_that_hangs(self):
        """The observer returns, one thread waits, and the oldest are lost."""
        bus = _Bus()
        self.addCleanup(bus.answers.set)
        self.use(bus)
        start(self.made)
        for _number in range(notifier._MOST):
            change(self.made, states.State.SEEDING)
        for _number in range(3):
            change(self.made, states.State.READY)
        self.assertEqual([], bus.got)
        self.assertEqual(
            1,
            sum(
                each.name == notifier.THREAD for each in threading.enumerate()
            ),
        )
        bus.answers.set()
        self.wait_for_thread()
        ready = 'instance.blockcopy.ready'
        self.assertEqual(3 * [ready], bus.got[-3:])
        self.assertLessEqual(len(bus.got), notifier._MOST + 1)
        (said,) = self.lines.of('WARNING')
        self.assertIn('Notifications are lost', said)
        # there is room again
        change(self.made, states.State.PIVOTING)
        self.wait_for_thread()
        self.assertEqual('instance.blockcopy.phase', bus.got[-1])

    def test_a_bus_that_fails(self):
        self.use(None)
        start(self.made)
        self.assertTrue(
            waiting.until(
                lambda: bool(self.lines.of('WARNING')), timeout=_SECONDS
            )
        )
        self.wait_for_thread()
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{compat.__name__}.get_versioned_notifier',
                nova.rpc.get_versioned_notifier,
            )
        )
        end(self.made, events.Outcome.COMPLETED)
        self.assertEqual(1, len(self.sent()))
