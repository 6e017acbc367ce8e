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
        for record in self._engine.journal.records():
            if record.role is not model.Role.SOURCE:
                continue
            try:
                self._settle(context, record)
            except Exception:  # the host must come up for its other guests
                LOG.exception(
                    'The migration of instance %s could not be settled; its '
                    'journal stays, and nothing will be started or removed',
                    record.guest,
                )

    def _settle(self, context: Any, record: journal.Record) -> None:
        side = self._engine.settle(
            record, channel.RpcChannel(context, record.peer)
        )
        migrate_data = compat.migrate_data(context, record.guest)
        if migrate_data is None:
            LOG.warning(
                'Nova knows of no live migration of instance %s that runs; '
                'it is at home on the %s',
                record.guest,
                side,
            )
            return
        go_on = {
            model.Role.SOURCE: self._manager._rollback_live_migration,
            model.Role.DESTINATION: self._manager._post_live_migration,
        }
        go_on[side](
            context,
            compat.instance(context, record.guest),
            record.peer,
            migrate_data=migrate_data,
            source_bdms=compat.block_devices(context, record.guest),
        )
