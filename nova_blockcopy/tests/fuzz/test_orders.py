# SPDX-License-Identifier: Apache-2.0
"""Messages of a source, or of anybody on the bus, to a destination."""

import socket
from typing import Any

import fixtures
from hypothesis import given
from hypothesis import strategies as st

from nova_blockcopy import wire
from nova_blockcopy.copies import seeder
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples
from nova_blockcopy.tests.fuzz import values
from nova_blockcopy.tests.unit import samples as unit_samples
from nova_blockcopy.tests.unit.migration import world

_ABOUT = {'guest': unit_samples.UUID, 'migration': 'm1'}
_SEEDS = base.plain(wire.pack((samples.SEED,)))
#: The values of each operation.
_VALUES: dict[str, dict[str, Any]] = {
    'prepare': {
        'name': 'guest',
        'peer': 'host-a',
        'boot': 'b',
        'home': {'uri': world.HOME, 'migrate_uri': ''},
        'rehearsal': {'address': '127.0.0.1', 'port': 1, 'word': 'w'},
        'xml': samples.XML,
        'disks': base.plain(wire.pack((samples.DISK,))),
        'bases': {'vda': {'path': '/x', 'format': 'raw', 'whole': False}},
        'left_alone': {'vdb': '/y'},
        'tls': False,
        'mode': 'seeded',
        'dry_run': False,
    },
    'appraise': {
        'question': {
            'name': 'guest',
            'peer': 'host-a',
            'home': {'uri': world.HOME, 'migrate_uri': ''},
            'rehearsal': {'address': '127.0.0.1', 'port': 1, 'word': 'w'},
            'tls': False,
            'mode': 'seeded',
            'needs': [
                {
                    'disk': 'vda',
                    'path': '/x',
                    'kind': 'file',
                    'size_bytes': 1,
                    'travel_bytes': 1,
                }
            ],
            'measures': True,
        }
    },
    'seed': {'seeds': _SEEDS, 'bandwidth': 0},
    'digest': {
        'seed': _SEEDS[0],
        'wanted': [{'offset': 0, 'length': 512}],
    },
    'apply': {'seeds': _SEEDS},
    'copy': {
        'persistent_xml': samples.XML,
        'bandwidth': 0,
        'synchronous_writes': False,
        'guest_bandwidth': 0,
    },
    'set_bandwidth': {'bandwidth': 0},
    'pivot': {'without_source': False, 'again': False},
    'give_back': {
        'boot': 'b',
        'endpoint': {'uri': world.HOME, 'migrate_uri': ''},
        'live_xml': samples.XML,
        'persistent_xml': samples.XML,
    },
    'discard': {'keep': False},
    'finish': {'keep': False},
    **{
        name: {}
        for name in ('received', 'abort', 'status', 'qemu_log', 'firmware')
    },
}
_messages = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda name: values.damaged({'operation': name, **_ABOUT, **_VALUES[name]})
)


def _no_network(address, port, *_more):
    raise socket.gaierror(f'{address!r} is not resolved here')


class TestOrders(world.WorldTestCase):
    """A real dispatcher with a real journal; libvirt is in memory."""

    disks = ('vda',)
    limit = base.TestCase.limit

    def setUp(self):
        super().setUp()
        for target, name, value in (
            (socket, 'getaddrinfo', _no_network),
            (seeder, '_PAUSE', 0.001),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f'{target.__name__}.{name}', value)
            )
        assert set(_VALUES) == dispatcher.OPERATIONS
        self.options = {'stall_timeout': 60, 'call_timeout': 2}

    def handle(self, message):
        answer = base.plain(self.destination.handle(message))
        for arrival in list(self.destination._arrivals.values()):
            task = arrival.operations._worker._task
            if task is not None and not task.wait(limits.WAIT):
                raise AssertionError(f'{task.name} does not end')
            if task is not None and task.failure is not None:
                # not an error that nobody expects
                assert type(task.failure).__name__ != 'TaskFailed', (
                    task.failure
                )
                limits.check_message(str(task.failure))
        return answer

    @given(st.one_of(_messages, values.wrong), st.booleans())
    def test_one_message(self, message, prepared):
        self.restart_destination()
        if prepared:
            self.prepare(self.remote())
        with limits.example('messages to the destination'):
            peer.raise_failure(self.handle(message).get('error'))
        with limits.example('messages to the destination'):
            peer.raise_failure(
                self.handle({'operation': 'discard', **_ABOUT}).get('error')
            )
        path = self.directory / 'b' / 'journal' / f'{unit_samples.UUID}.json'
        # no message makes a journal that cannot be read
        self.record('b')
        path.unlink(missing_ok=True)
