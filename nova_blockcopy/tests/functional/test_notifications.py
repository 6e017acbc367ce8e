# SPDX-License-Identifier: Apache-2.0
"""The notifications about a real migration, and the one in the guide."""

import json
import pathlib
import time

import nova_blockcopy
from nova_blockcopy import events
from nova_blockcopy import notification
from nova_blockcopy.tests.functional import base

_SAMPLE = (
    pathlib.Path(nova_blockcopy.__file__).parents[1]
    / 'doc/source/admin/notification.json'
)


def shape(value):
    """A value without its figures and names."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case list():
            return [shape(each) for each in value]
        case int() | float():
            return 0
    return type(value).__name__


class Listener:
    """Keeps the notifications of one host, as Nova's bus would get them."""

    def __init__(self, host):
        self.kinds = []
        self.payloads = []
        self._host = host

    def __call__(self, event):
        now = time.monotonic()
        if isinstance(event, events.Started):
            self._narrator = notification.Narrator(self._host, event, now)
        told = self._narrator.tell(event, now)
        if told is not None:
            self.kinds.append(told.kind)
            self.payloads.append(json.loads(json.dumps(told.primitive())))


class TestNotifications(base.TestCase):
    def test_a_success(self):
        made = self.set_scene('block', 'layered')
        told = {at.name: Listener(at.hostname) for at in self.hosts.lab.hosts}
        made.run(made.migration(observers=told))
        self.assert_intact(made, self.lab.b)
        kind = notification.Kind
        for each in told.values():
            self.assertEqual(kind.START, each.kinds[0])
            self.assertEqual(kind.END, each.kinds[-1])
            self.assertEqual(
                [kind.READY, kind.PIVOT],
                [k for k in each.kinds if k in (kind.READY, kind.PIVOT)],
            )
        last = told[self.lab.a.name].payloads[-1]
        data = last['nova_object.data']
        self.assertEqual(made.guest.uuid, data['instance_uuid'])
        self.assertEqual(
            data['copied_bytes'],
            sum(
                disk['nova_object.data']['copied_bytes']
                for disk in data['disks']
            ),
        )
        self.assertLess(0, data['remote_window'])
        sample = json.loads(_SAMPLE.read_text())
        self.assertEqual(shape(sample), shape(last))
