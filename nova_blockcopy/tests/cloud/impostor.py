# SPDX-License-Identifier: Apache-2.0
"""A compute host that was taken over: it sends what it likes on Nova's bus.

It has what each compute host has, the ``transport_url``, and no code of this
project on its way to the bus. Runs on a compute host of the cloud.
"""

from typing import Any

import fixtures
import oslo_messaging
from oslo_config import cfg

from nova_blockcopy.nova import channel
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import control
from nova_blockcopy.tests.lab import host

_SECONDS = 60


class Impostor(fixtures.Fixture):
    """Sends messages to the drivers of other hosts.

    :param at: the host that was taken over
    """

    def __init__(self, at: host.Host) -> None:
        self._at = at

    def _setUp(self) -> None:
        self._transport = self._at.call(
            # oslo.messaging has some options here only (_tracing/client.py)
            *(oslo_messaging.get_rpc_transport, cfg.CONF, control.TRANSPORT),
        )
        self.addCleanup(self._transport.cleanup)

    def call(self, to: str, message: Any) -> Any:
        """Send a message to the driver of a host, and return the answer.

        :param to: the name of the host in Nova
        """
        return self._at.call(self._call, to, message)

    def order(self, to: str, **message: Any) -> dict[str, Any] | None:
        """Have a host carry out an operation; return the error, if any."""
        answer = self.call(to, message)
        if 'error' in answer:
            found: dict[str, Any] = answer['error']
            return found
        return self._failure(to, message)

    def task(self, to: str, guest: str, migration: str) -> dict[str, Any]:
        """What a host says about the last task of a migration."""
        found: dict[str, Any] = self.call(
            to,
            {'operation': 'status', 'guest': guest, 'migration': migration},
        )['task']
        return found

    def _failure(
        self, to: str, message: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Wait for the end of the task that an order has begun."""
        about = (to, message['guest'], message['migration'])
        if self.task(*about)['name'] != message['operation']:
            return None
        if not waiting.until(
            lambda: bool(self.task(*about)['done']), timeout=_SECONDS
        ):
            raise AssertionError(f'{message["operation"]} does not end')
        found: dict[str, Any] | None = self.task(*about)['failure']
        return found

    def _call(self, to: str, message: Any) -> Any:
        """Call what Nova's compute manager has for a question about a file."""
        target = oslo_messaging.Target(
            exchange='nova', topic='compute', server=to, version='6.0'
        )
        client = oslo_messaging.get_rpc_client(
            self._transport, target, timeout=_SECONDS
        )
        return client.call(
            {},
            'check_instance_shared_storage',
            data={'filename': '/nonexistent', channel.KEY: message},
        )
