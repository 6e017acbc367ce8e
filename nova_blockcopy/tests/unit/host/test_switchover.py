# SPDX-License-Identifier: Apache-2.0
"""The switchover: what libvirt is told, and how it may end."""

import dataclasses
import json
import threading
from typing import Any

import ddt
import fixtures
import libvirt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import switchover
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

URI = 'qemu+tcp://host-b/system'
LIVE = samples.domain(samples.disk_xml())
ALWAYS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    | libvirt.VIR_MIGRATE_UNSAFE
)
PERSISTENT = (
    libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)


@ddt.ddt
class TestRun(base.TestCase):
    def setUp(self):
        super().setUp()
        self.here = fakes.Connection(fakes.Machine(LIVE, LIVE))
        self.there = fakes.Connection()
        self.here.peers[URI] = self.there
        self.guest = self.here.hypervisor('host-a').guest(samples.UUID)
        self.cancelled = threading.Event()
        self.released = threading.Event()
        self.addCleanup(self.released.set)

    def run_it(self, **changes):
        arguments: dict[str, Any] = {
            'live_xml': LIVE,
            'persistent_xml': LIVE,
            'cancelled': self.cancelled,
            'settings': dataclasses.replace(
                samples.settings(self.directory), **changes.pop('options', {})
            ),
        }
        endpoint = model.Endpoint(
            uri=URI, migrate_uri=changes.pop('migrate_uri', '')
        )
        switchover.run(self.guest, endpoint, **(arguments | changes))

    def refused(self, kind, **changes):
        error = self.assertRaises(kind, self.run_it, **changes)
        self.assertIs(kind, type(error))
        self.assertEqual([samples.UUID], list(self.here.machines))
        return str(error)

    def hang(self, machine):
        """A migration that goes on until it is aborted."""
        self.cancelled.set()
        self.released.wait()
        raise fakes.libvirt_error(libvirt.VIR_ERR_OPERATION_ABORTED, 'aborted')

    @ddt.named_data(
        ('plain', {}, {}, ALWAYS | PERSISTENT),
        ('transient', {'persistent_xml': ''}, {}, ALWAYS),
        (
            'encrypted',
            {'options': {'export_tls': True}},
            {},
            ALWAYS | PERSISTENT | libvirt.VIR_MIGRATE_TLS,
        ),
        (
            'by an address',
            {'migrate_uri': 'tcp://192.0.2.2'},
            {'migrate_uri': 'tcp://192.0.2.2'},
            ALWAYS | PERSISTENT,
        ),
    )
    @ddt.unpack
    def test_what_libvirt_is_told(self, changes, more, flags):
        self.run_it(**changes)
        ((uri, parameters, given),) = self.here.migrations
        expected = {'destination_xml': LIVE, **more}
        if changes.get('persistent_xml') != '':
            expected['persistent_xml'] = LIVE
        self.assertEqual((URI, expected, flags), (uri, parameters, given))
        self.assertEqual([samples.UUID], list(self.there.machines))
        self.assertIs(hypervisor.Power.OFF, self.guest.power())

    def test_a_failure_says_why(self):
        def fail(_machine):
            raise fakes.libvirt_error(message='no route')

        self.here.on_migrate = fail
        said = self.refused(exception.SwitchoverError)
        self.assertIn('no route', said)

    def test_on_request_it_is_aborted(self):
        self.here.on_migrate = self.hang
        self.here.on_abort_job = self.released.set
        self.refused(exception.Aborted)

    def test_when_its_time_has_passed_it_is_aborted(self):
        def hang(machine):
            self.released.wait()
            raise fakes.libvirt_error(message='aborted')

        self.here.on_migrate = hang
        self.here.on_abort_job = self.released.set
        options = {'switchover_timeout': 0}
        self.refused(exception.SwitchoverError, options=options)

    def test_an_abort_that_comes_too_early_is_tried_again(self):
        calls = []

        def abort():
            calls.append(1)
            if len(calls) < 3:
                raise fakes.libvirt_error(message='no job is active')
            self.released.set()

        self.here.on_migrate = self.hang
        self.here.on_abort_job = abort
        self.refused(exception.Aborted)
        self.assertEqual(3, len(calls))

    def test_a_migration_that_cannot_be_ended_is_no_success(self):
        self.here.on_migrate = self.hang
        options = {'call_timeout': 0}
        said = self.refused(exception.SwitchoverError, options=options)
        self.assertIn('did not end the migration', said)

    def test_an_abort_that_lost_the_race_is_a_success(self):
        def migrate(machine):
            self.cancelled.set()
            self.released.wait()

        self.here.on_migrate = migrate
        self.here.on_abort_job = self.released.set
        self.run_it()
        self.assertEqual([samples.UUID], list(self.there.machines))


class TestReleaseCancelled(base.TestCase):
    def test_the_order(self):
        said = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'libvirt_qemu.qemuMonitorCommand',
                lambda _domain, order, _flags: said.append(json.loads(order)),
            )
        )
        machine = fakes.Machine(LIVE)
        here = fakes.Connection(machine).hypervisor('host-a')
        switchover.release_cancelled(here.guest(machine.uuid))
        self.assertEqual(
            [
                {
                    'execute': 'migrate-continue',
                    'arguments': {'state': 'cancelling'},
                }
            ],
            said,
        )
