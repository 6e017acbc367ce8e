#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""What a crash of nova-compute left half done, settled before Nova acts.

Runs in ``init_host``: Nova has not looked at its instances then, so none of
its ways to start one or to clean up after one can come first.
"""

from typing import Any

from oslo_log import log as logging

from nova_blockcopy import journal
from nova_blockcopy import model
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import service

LOG = logging.getLogger(__name__)


class Reconciler:
    """Settles the migrations that this host was the source of.

    :param manager: Nova's compute manager, which knows how to go on
    """

    def __init__(self, engine: service.Service, manager: Any) -> None:
        self._engine = engine
        self._manager = manager

    def run(self) -> None:
        """Settle what can be settled; the journal of the rest stays."""
        context = compat.admin_context()
        for guest in self._engine.journal.guests():
            try:
                record = self._engine.journal.find(guest)
                if record is not None and record.role is model.Role.SOURCE:
                    self._settle(context, record)
            except Exception:  # the host must come up for its other guests
                LOG.exception(
                    'The migration of instance %s could not be settled; its '
                    'journal stays, and nothing will be started or removed',
                    guest,
                )

    def _settle(self, context: Any, record: journal.Record) -> None:
        """Settle one; its journal guards it until Nova has done its part."""
        side = self._engine.settle(
            record, channel.RpcChannel(context, record.peer)
        )
        migrate_data = compat.migrate_data(context, record.guest)
        if migrate_data is None:
            self._check_known(context, record, side)
        else:
            go_on = {
                model.Role.SOURCE: self._manager._rollback_live_migration,
                model.Role.DESTINATION: self._manager._post_live_migration,
            }
            # its resource tracker is empty this early, and is used there
            self._manager.update_available_resource(context, startup=True)
            with self._engine.removable(record.guest):
                go_on[side](
                    context,
                    compat.instance(context, record.guest),
                    record.peer,
                    migrate_data=migrate_data,
                    source_bdms=compat.block_devices(context, record.guest),
                )
        self._engine.journal.close(record.guest)

    def _check_known(
        self, context: Any, record: journal.Record, side: model.Role
    ) -> None:
        """Pass if Nova has an instance where its guest is.

        :raises MigrationError: it has not, so the guards must stay
        """
        there = side is model.Role.DESTINATION
        found = compat.instance(context, record.guest).host
        if there is not (found == record.peer):
            raise compat.MigrationError(
                reason=f'its guest is at home on the {side} of its migration '
                f'to {record.peer}, but Nova has it on {found}.'
            )
