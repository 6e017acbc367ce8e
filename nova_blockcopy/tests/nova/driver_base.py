# SPDX-License-Identifier: Apache-2.0
"""What the tests of the compute driver share."""

import functools
import threading
from typing import Any
from unittest import mock

import fixtures
import libvirt
from nova import objects
from nova import utils
from nova.compute import manager
from nova.network import neutron
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as nova_guest

from nova_blockcopy import model
from nova_blockcopy.nova import handshake
from nova_blockcopy.nova import service
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import guests
from nova_blockcopy.tests.nova import migrations
from nova_blockcopy.tests.nova import sqlite
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

AGREED = handshake.Terms(agreed=True)


class DriverTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.machine = fakes.Machine(
            samples.domain(samples.disk_xml('vda')), ''
        )
        self.connection = fakes.Connection(self.machine)
        self.driver: Any = self.make_driver(self.connection)
        self.journal = self.driver._service.journal

    def said(self, terms: handshake.Terms | None, **values: Any) -> Any:
        """Nova's data, as it comes in with these terms."""
        data = base.migrate_data(bdms=[base.volume_entry()], **values)
        if terms is not None:
            handshake.write(data, terms)
        return base.travelled(data)

    def bases(self, data: Any) -> dict[str, model.BaseRequest]:
        terms = handshake.read(data)
        assert terms is not None
        return terms.bases

    def serials(self, data: Any) -> list[str]:
        return [entry.serial for entry in data.bdms]


class Spawned:
    """What Nova before 2025.2 takes for a green thread."""

    def __init__(self, work, *args, **kwargs):
        self.thread = threading.Thread(
            target=functools.partial(work, *args, **kwargs), daemon=True
        )
        self.thread.start()

    def link(self, *_more):
        """Nova is not told that it ended: that decides nothing here."""


def network(driver):
    """What a driver's compute manager asks Neutron with."""
    made = mock.create_autospec(neutron.API, instance=True)
    compute = mock.create_autospec(manager.ComputeManager, instance=True)
    compute.network_api = made
    driver.virtapi._compute = compute
    return made


class LiveMigrationTestCase(DriverTestCase):
    """Nova's own live migration and monitor, around our engine's end."""

    XML = guests.HOME

    def setUp(self):
        super().setUp()
        self.domain = guests.MovingDomain(self.XML)
        self.guest = nova_guest.Guest(self.domain)
        self.driver._host.get_guest.return_value = self.guest
        self.driver._live_migration_flags = libvirt.VIR_MIGRATE_LIVE
        self.driver._block_migration_flags = (
            libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_NON_SHARED_INC
        )
        self.threads: list[Any] = []
        if not hasattr(libvirt_driver, 'thread_pool_factory') and hasattr(
            libvirt_driver, 'eventlet'
        ):
            spawn = functools.partial(utils.pass_context, Spawned)
            self.useFixture(fixtures.MonkeyPatch('nova.utils.spawn', spawn))
        self.asked: list[Any] = []
        self.engine = self.fake(
            service.Service, 'live_migration', side_effect=self.asked_for
        )
        self.nova = self.useFixture(sqlite.NovasDatabase(self.directory))
        self.context = self.nova.context
        self.saved: list[Any] = []
        self.fake(objects.Migration, 'save', side_effect=self.saved.append)
        self.fake(objects.Instance, 'save')
        self.ended: list[Any] = []
        self.act = lambda migration: None
        self.network = network(self.driver)

    def asked_for(self, _self, *given):
        """The engine's migration, and what it was made of."""
        names = ('request', 'channel', 'switch', 'listener')
        self.asked.append(dict(zip(names, given, strict=True)))
        return migrations.ActingMigration(self.act)

    def post(self, context, instance, dest, block_migration, migrate_data):
        self.ended.append(('done', dest))

    def recover(
        self, context, instance, dest, migrate_data, migration_status='failed'
    ):
        self.ended.append((migration_status, dest))

    def migrate(self, terms=AGREED, **values):
        data = self.said(terms, **values)
        self.driver.live_migration(
            self.context,
            self.instance,
            base.THERE,
            self.post,
            self.recover,
            True,
            data,
        )

    def switch(self):
        """Carry the guest over, as the engine does."""
        self.asked[0]['switch'](disks=guests.DISKS)(
            guests.REMOTE, '', threading.Event()
        )

    def raises(self, error):
        def act(migration):
            raise error

        return act
