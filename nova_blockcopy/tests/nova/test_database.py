# SPDX-License-Identifier: Apache-2.0
"""Nova's own records, as they are found and made."""

from unittest import mock

from nova import objects
from nova.compute import manager

from nova_blockcopy.nova import database
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples


class TestLookUps(base.TestCase):
    def test_data_of_a_live_migration_made_again(self):
        known = objects.Migration(
            id=7, status='running', instance_uuid=samples.UUID
        )
        data = base.travelled(database.migrate_data(known))
        self.assertEqual(7, data.migration.id)
        # both the instance's directory and its disks are to be removed
        # where it is not
        flags = manager.ComputeManager._live_migration_cleanup_flags
        self.assertEqual(
            (True, True),
            flags(mock.create_autospec(manager.ComputeManager), data),
        )
