# SPDX-License-Identifier: Apache-2.0
"""A source that starts again after a crash, and its destination."""

import contextlib
import datetime
import functools
import threading
from typing import Any
from unittest import mock

import fixtures
import oslo_messaging
from nova import objects
from nova.compute import manager
from nova.network import neutron

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration.source import steps
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import reconcile
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
IN_FUTURE = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)
OTHER = '99999999-2222-3333-4444-555555555555'
State = states.State


def migration(**values: Any) -> Any:
    """One of Nova's to host-b, which was killed."""
    known = {
        'id': 1,
        'status': 'running',
        'dest_compute': base.THERE,
        'created_at': LONG_AGO,
    }
    return objects.Migration(**{**known, **values})


class ReconcileTestCase(base.TestCase):
    """The engine is real on both hosts; libvirt and Nova's RPC are not.

    ``host-b`` is the destination; ``host-c`` does not answer.
    """

    def setUp(self):
        super().setUp()
        self.connection = fakes.Connection(
            fakes.Machine(samples.domain(samples.disk_xml())),
            fakes.Machine(samples.domain(samples.disk_xml(), uuid=OTHER)),
        )
        self.engine = self.service(self.connection)
        there = fakes.Connection()
        with self.conf_of_there():
            self.there = self.service(there)
        self.manager = mock.create_autospec(
            manager.ComputeManager, instance=True
        )
        self.manager.network_api = mock.create_autospec(
            neutron.API, instance=True
        )
        self.manager._rollback_live_migration.side_effect = self.rolled_back
        self.manager._post_live_migration_update_host.side_effect = (
            self.went_on
        )
        #: Whether there is a journal here of what ends.
        self.begun = True
        self.ended: list[Any] = []
        #: The statuses that migrations get which are rolled back.
        self.statuses: list[str] = []
        #: The hosts that Nova has the instances on which have arrived.
        self.arrived: dict[str, str] = {}
        self.asked: list[Any] = []
        #: How many questions are not answered.
        self.silences = 0
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer
        #: Nova's records of live migrations, for each instance.
        self.migrations = [migration()]
        self.fake(
            objects.MigrationList,
            'get_by_filters',
            side_effect=self.found_migrations,
        )
        self.saved: list[Any] = []
        for kind in (objects.Migration, objects.Instance):
            self.fake(
                kind,
                'save',
                side_effect=lambda it, **_more: self.saved.append(it),
            )
        #: What Nova has of each instance, besides its UUID.
        self.facts: dict[str, Any] = {}
        self.deleted = False
        self.set_events()
        self.fake(
            objects.Instance,
            'get_by_uuid',
            side_effect=self.found_instance,
        )
        self.fake(
            objects.BlockDeviceMappingList,
            'get_by_instance_uuid',
            return_value=[],
        )
        for patient in (channel, steps, reconcile):
            self.useFixture(
                fixtures.MonkeyPatch(f'{patient.__name__}._PAUSE', 0)
            )
        # the last one, so that it comes first: a thread that goes on would
        # log into the next test
        self.addCleanup(self.end_settlements)

    def set_events(self) -> None:
        """A test that looks at events has Nova's database for them."""
        self.hide_events()

    def end_settlements(self) -> None:
        """End the attempts in the background, and wait for their threads."""

        def have_ended() -> bool:
            # an attempt that is under way may write to its journal once more
            for guest in self.engine.journal.guests():
                self.engine.journal.close(guest)
            names = [thread.name for thread in threading.enumerate()]
            return reconcile.THREAD not in names

        self.assertTrue(waiting.until(have_ended, timeout=30))

    @contextlib.contextmanager
    def conf_of_there(self):
        directory = str(self.directory / 'there')
        self.conf.config(group='blockcopy', journal_dir=directory)
        yield
        compat.CONF.clear_override('journal_dir', group='blockcopy')

    def answer(self, context, data, instance=None, host=None):
        message = data[channel.KEY]
        self.asked.append((host, message['operation'], message['guest']))
        if host != base.THERE or len(self.asked) <= self.silences:
            raise oslo_messaging.MessagingTimeout('no answer')
        return self.there.answer(message)

    def found_migrations(self, context, filters, **_more):
        """As Nova's database would; without a UUID it is any instance's."""
        self.assertEqual('live-migration', filters['migration_type'])
        wanted = filters.get('status')
        found = []
        for each in self.migrations:
            if wanted is None or each.status in wanted:
                each.instance_uuid = filters.get('instance_uuid', samples.UUID)
                found.append(each)
        return found

    def found_instance(self, context, uuid, **_more):
        if self.deleted and context.read_deleted == 'no':
            raise compat.InstanceNotFound(instance_id=uuid)
        facts = dict(self.facts)
        if uuid in self.arrived:
            facts.update(host=self.arrived[uuid], task_state=None)
        return base.instance(uuid=uuid, deleted=self.deleted, **facts)

    def rolled_back(
        self, context, instance, dest, migration_status='failed', **more
    ):
        self.statuses.append(migration_status)
        self.note('back', instance, dest, **more)

    def went_on(self, context, instance, dest, **more):
        self.note('there', instance, dest, **more)
        self.arrived[instance.uuid] = dest

    def note(self, where, instance, dest, migrate_data, source_bdms):
        self.assertEqual([], source_bdms)
        self.assertEqual(instance.uuid, migrate_data.migration.instance_uuid)
        self.assertEqual(instance.uuid, migrate_data.instance_relative_path)
        self.assertTrue(handshake.agreed(migrate_data))
        # Nova insists on these
        self.assertEqual('running', migrate_data.migration.status)
        self.assertEqual(
            ('active', 'migrating'), (instance.vm_state, instance.task_state)
        )
        guard = self.engine.guard
        guard.check_removal(instance)
        if where == 'there':
            start = functools.partial(guard.check_start, instance, 'start')
            self.assertRaises(compat.MigrationError, start)
        self.assertEqual(self.begun, instance.uuid in self.left())
        self.ended.append((where, instance.uuid, dest))

    def crashed(self, **values):
        """What is in the journal when nova-compute starts again."""
        values = {'role': model.Role.SOURCE, **values}
        return self.engine.journal.open(base.record(**values))

    def gone_over(self, **values):
        """A crash when all disks were proven to be over there."""
        return self.crashed(
            state=State.RELEASING,
            authority=model.Role.DESTINATION,
            **values,
        )

    def run_it(self):
        return sorted(reconcile.Reconciler(self.engine, self.manager).run())

    def found(self, guest: str = samples.UUID) -> journal.Record:
        record = self.engine.journal.find(guest)
        assert record is not None
        return record

    def left(self):
        return self.engine.journal.guests()
