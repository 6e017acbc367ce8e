# SPDX-License-Identifier: Apache-2.0
"""The parts of a cloud that the end of a live migration needs, in memory.

Each part serves only processes that have not been killed.
"""

import functools
from typing import Any

from nova.network import model as network_model


class Nothing:
    """Has any method, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_arguments, **_more: None


class Part:
    """A part of the cloud, which serves living processes only."""

    def __init__(self, world: Any) -> None:
        self.world = world

    @property
    def cloud(self) -> dict[str, Any]:
        self.world.check_alive()
        cloud: dict[str, Any] = self.world.cloud
        return cloud


class Neutron(Part):
    def migrate_instance_start(self, context, instance, migration):
        bindings = self.cloud['bindings']
        if migration.dest_compute in bindings:
            for host in bindings:
                bindings[host] = 'INACTIVE'
            bindings[migration.dest_compute] = 'ACTIVE'

    def migrate_instance_finish(self, context, instance, migration, **_more):
        if self.cloud['bindings'].get(migration.dest_compute) != 'ACTIVE':
            self.cloud['bindings'] = {migration.dest_compute: 'ACTIVE'}

    def setup_networks_on_host(
        self, context, instance, host=None, teardown=False
    ):
        bindings = self.cloud['bindings']
        if (
            teardown
            and host != instance.host
            and (bindings.get(instance.host) == 'ACTIVE')
        ):
            bindings.pop(host, None)

    def get_instance_nw_info(self, context, instance, **_more):
        self.world.check_alive()
        return network_model.NetworkInfo()


class Cinder(Part):
    def attachment_delete(self, context, attachment):
        self.cloud['attachments'].discard(attachment)


class Placement(Part):
    def get_allocations_for_consumer(self, context, consumer):
        return self.cloud['allocations'].get(consumer)

    def delete_allocation_for_instance(self, context, consumer, **_more):
        self.cloud['allocations'].pop(consumer, None)

    def move_allocations(self, context, source, target):
        held = self.cloud['allocations']
        if source in held:
            held[target] = held.pop(source)


class Rpc(Part):
    """Nova's RPC: calls arrive at once, casts when they are delivered."""

    def post_live_migration_at_destination(
        self, context, instance, block_migration, host
    ):
        self.world.call(
            host,
            lambda to: to.manager.post_live_migration_at_destination(
                context, instance.obj_clone(), block_migration
            ),
        )

    def rollback_live_migration_at_destination(
        self, context, instance, host, destroy_disks, migrate_data
    ):
        self.world.check_alive()
        self.world.casts.append(
            (
                host,
                functools.partial(
                    _roll_back_at_destination,
                    context=context,
                    instance=instance.obj_clone(),
                    destroy_disks=destroy_disks,
                    migrate_data=migrate_data,
                ),
            )
        )

    def remove_volume_connection(self, context, instance, volume, host):
        self.world.call(
            host,
            lambda to: self.world.disconnect(
                to.host, self.world.cloud['volume']['connection_info']
            ),
        )

    def check_instance_shared_storage(self, context, data, host):
        return self.world.call(
            host,
            lambda to: to.driver.check_instance_shared_storage_remote(
                context, data
            ),
        )


def _roll_back_at_destination(to: Any, **arguments: Any) -> None:
    to.manager.rollback_live_migration_at_destination(**arguments)
