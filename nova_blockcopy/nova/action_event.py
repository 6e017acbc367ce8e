# SPDX-License-Identifier: Apache-2.0
"""A live migration among the events of a server's action in Nova's API.

Nova's own event, ``compute_live_migration``, ends with success as soon as the
migration waits for its turn (``ComputeManager.live_migration``). Nova shows a
fault only of a server in ERROR, and a server is ACTIVE after a rollback. So
the engine has an event of its own, which tells how the migration has ended.
"""

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

from nova_blockcopy.nova import compat
from nova_blockcopy.nova import reasons
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: The name of the event; Nova's own names begin with the service, too.
NAME = 'compute_blockcopy_live_migration'


class ActionEvent:
    """The event of one live migration. Runs on the source.

    A live migration goes on whether or not Nova can save the event.

    :param context: of the request for the live migration, whose id is that
        of the action
    :param guest: UUID
    """

    def __init__(self, context: Any, guest: str) -> None:
        self._context = context
        self._guest = guest

    def begin(self) -> None:
        """Have the API show that the engine is at work."""
        with _optional(self._guest):
            compat.InstanceActionEvent.event_start(
                self._context,
                self._guest,
                NAME,
                want_result=False,
                host=compat.CONF.host,
            )

    def end(self, error: BaseException | None) -> None:
        """Have the API show how the live migration has ended.

        An event can end again, when more is known.

        :param error: None after a success. The API shows the begin of the
            message to all who may see details, and the traceback with the
            whole message to administrators.
        """
        with _optional(self._guest):
            compat.InstanceActionEvent.event_finish_with_failure(
                self._context,
                self._guest,
                NAME,
                exc_val=error and reasons.shown(error),
                exc_tb=error and ''.join(traceback.format_exception(error)),
                want_result=False,
            )


def after_restart(guest: str, request: str = '') -> ActionEvent:
    """The event of a live migration from before a restart of nova-compute.

    :param guest: UUID
    :param request: the id of the request for the live migration. Without it,
        Nova takes the latest action of the server, as it does for its own
        events (``action_event_start`` in nova/db/main/api.py).
    """
    context = compat.get_admin_context()
    if request:
        context.request_id = request
    return ActionEvent(context, guest)


def record_fault(context: Any, instance: Any, error: BaseException) -> None:
    """Have the API show an error as the fault of a server in ERROR."""
    with _optional(instance.uuid):
        compat.add_instance_fault(
            context,
            instance,
            error,
            (type(error), error, error.__traceback__),
            reasons.shown(error),
        )


@contextlib.contextmanager
def _optional(guest: str) -> Iterator[None]:
    try:
        yield
    except Exception as e:  # the migration does not depend on what is shown
        LOG.warning(
            'Nova cannot show how the live migration ends: %s',
            *(e,),
            instance={'uuid': guest},
        )
