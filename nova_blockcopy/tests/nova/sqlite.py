# SPDX-License-Identifier: Apache-2.0
"""Nova's own database code, on tables in a file."""

import pathlib
from typing import Any

import fixtures
from nova import context
from nova import objects
from nova.db.main import api
from nova.db.main import models
from oslo_db.sqlalchemy import enginefacade  # type: ignore[import-not-found]

from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples

PROJECT = 'project'
REQUEST = 'req-11111111-2222-3333-4444-555555555555'


class NovasDatabase(fixtures.Fixture):
    """A database with a server that a user has just asked to migrate.

    :param directory: for the file
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._file = directory / 'nova.sqlite'

    def _setUp(self) -> None:
        manager = enginefacade.transaction_context()
        manager.configure(connection=f'sqlite:///{self._file}')
        self.useFixture(
            fixtures.MonkeyPatch('nova.db.main.api.context_manager', manager)
        )
        models.BASE.metadata.create_all(manager.writer.get_engine())
        self.addCleanup(manager.writer.get_engine().dispose)
        self.context = context.RequestContext(
            'user', PROJECT, request_id=REQUEST
        )
        api.instance_create(
            self.context,
            {
                'uuid': samples.UUID,
                'project_id': PROJECT,
                'host': base.HERE,
                'vm_state': 'active',
                'task_state': 'migrating',
                'progress': 0,
            },
        )
        self.migration = objects.Migration(
            self.context,
            instance_uuid=samples.UUID,
            status='running',
            source_compute=base.HERE,
            migration_type='live-migration',
        )
        self.migration.create()
        self.act('live-migration', REQUEST)

    def act(self, name: str, request: str) -> None:
        """Begin an action, as Nova's API does for a request."""
        of_request = context.RequestContext(
            'user', PROJECT, request_id=request
        )
        objects.InstanceAction.action_start(of_request, samples.UUID, name)

    def action(self, request: str = REQUEST) -> Any:
        return objects.InstanceAction.get_by_request_id(
            self.context, samples.UUID, request
        )

    def events(self, request: str = REQUEST) -> list[Any]:
        return list(
            objects.InstanceActionEventList.get_by_action(
                self.context, self.action(request).id
            )
        )

    def instance(self) -> Any:
        return objects.Instance.get_by_uuid(self.context, samples.UUID)

    def figures(self) -> tuple[int, int, int, int]:
        """The instance's per cent, and the bytes: all, done and left."""
        found = objects.Migration.get_by_id(self.context, self.migration.id)
        return (
            self.instance().progress,
            found.disk_total,
            found.disk_processed,
            found.disk_remaining,
        )

    def fault(self) -> Any:
        """The latest fault."""
        return objects.InstanceFault.get_latest_for_instance(
            self.context, samples.UUID
        )
