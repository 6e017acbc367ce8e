# SPDX-License-Identifier: Apache-2.0
"""Nova's database in memory, with one instance and its live migration."""

from nova import objects
from nova.network import model as network_model

from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import parts
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.unit import samples

MIGRATION = '33333333-2222-3333-4444-555555555555'


class Database(parts.Part):
    """Reads and saves Nova's objects, in place of their own methods."""

    def found_instance(self, context, uuid, **_more):
        self.world.check_alive()
        made = base.instance(
            **self.world.cloud['instance'],
            info_cache=objects.InstanceInfoCache(
                network_info=network_model.NetworkInfo()
            ),
        )
        made._context = context
        made.obj_reset_changes()
        return made

    def save_instance(self, instance, expected_task_state='any', **_more):
        now = self.cloud['instance']
        wanted = expected_task_state
        if wanted != 'any':
            wanted = wanted if isinstance(wanted, list) else [wanted]
            if now['task_state'] not in wanted:
                raise compat.NovaException(f'{now["task_state"]}')
        changes = instance.obj_get_changes()
        now.update({name: changes[name] for name in now if name in changes})
        instance.obj_reset_changes()

    def found_migrations(self, context, filters):
        self.world.check_alive()
        wanted = filters.get('status', [self.world.cloud['migration']])
        if self.world.cloud['migration'] not in wanted:
            return []
        return [
            reconcile_base.migration(
                uuid=MIGRATION,
                status=self.world.cloud['migration'],
                instance_uuid=samples.UUID,
                source_compute=base.HERE,
                source_node=f'node-{base.HERE}',
            )
        ]

    def save_migration(self, migration):
        self.world.check_alive()
        self.world.cloud['migration'] = migration.status

    def found_devices(self, context, uuid):
        self.world.check_alive()
        return objects.BlockDeviceMappingList(
            objects=[
                objects.BlockDeviceMapping(
                    id=1,
                    instance_uuid=uuid,
                    volume_id=base.VOLUME,
                    destination_type='volume',
                    source_type='volume',
                    **self.world.cloud['volume'],
                )
            ]
        )

    def save_device(self, device):
        self.world.check_alive()
        self.world.cloud['volume'] = {
            'attachment_id': device.attachment_id,
            'connection_info': device.connection_info,
        }
