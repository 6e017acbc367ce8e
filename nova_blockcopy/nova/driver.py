# SPDX-License-Identifier: Apache-2.0
"""The compute driver: ``compute_driver = blockcopy.BlockCopyLibvirtDriver``.

In a block live migration the engine copies the local disks. Everything else
is left to Nova's own libvirt driver, such as a live migration without local
disks. The contributor guide lists the overrides in the order of Nova's calls.
"""

import functools
import importlib.metadata
from typing import Any

from nova_blockcopy.nova import compat
from nova_blockcopy.nova import contract
from nova_blockcopy.nova import destination_hooks
from nova_blockcopy.nova import guarded_operations
from nova_blockcopy.nova import live_migration
from nova_blockcopy.nova import prechecks
from nova_blockcopy.nova import reconcile
from nova_blockcopy.nova import service
from nova_blockcopy.nova import settings
from nova_blockcopy.nova import source_hooks
from nova_blockcopy.nova import startup
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

settings.register()


class BlockCopyLibvirtDriver(
    prechecks.Prechecks,
    source_hooks.SourceHooks,
    destination_hooks.DestinationHooks,
    guarded_operations.GuardedOperations,
):
    """Nova's libvirt driver, with the engine for block live migrations."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        contract.check()
        super().__init__(virtapi, read_only)
        compat.let_lock_reenter(self)
        self._live_migrations: dict[str, live_migration.LiveMigration] = {}

    def init_host(self, host: str) -> None:
        """Start the engine, and reconcile what a crash has left.

        :raises SystemExit: an option of this host cannot be used
        """
        startup.require(self._uri())
        super().init_host(host)
        self._service = service.Service(
            host,
            functools.partial(compat.connection, self),
            self._uri(),
            self._remove_deleted,
            self._endpoint,
        )
        LOG.info(
            'nova-blockcopy %s does the block live migrations of this host, '
            'in %s mode with the copy driver %s',
            importlib.metadata.version('nova-blockcopy'),
            self._service.settings.mode,
            self._service.settings.driver,
        )
        self._service.kept.start()
        self._reconciler = reconcile.Reconciler(
            self._service, compat.compute_manager(self)
        )
        left = self._reconciler.run()
        self._reconciler.go_on(left)
        self._unsettled = left | self._reconciler.unreadable

    def process_instances_at_startup(
        self, context: Any, instances: Any
    ) -> Any:
        """Keep from Nova the instances whose migration is not settled.

        Nova would take each of them for an instance that is on this host. So
        would it with those whose journal cannot be read.
        Nova calls this since release 34.
        """
        found = super().process_instances_at_startup(context, instances)
        return [each for each in found if each.uuid not in self._unsettled]
