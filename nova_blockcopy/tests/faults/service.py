# SPDX-License-Identifier: Apache-2.0
"""The engine of one host of a lab, in a process of its own.

The service does what nova-compute does with the engine: it answers the other
host, it migrates on order, and it settles the migrations that it finds in its
journal when it starts, or that got stuck. It tries again until they are
settled.
"""

import json
import logging
import os
import pathlib
import socketserver
import sys
import threading
import time
from typing import Any

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.records import journal
from nova_blockcopy.tests.faults import channel
from nova_blockcopy.tests.faults import hook as hooks
from nova_blockcopy.tests.faults import trace as traces
from nova_blockcopy.tests.lab import host as hosts
from nova_blockcopy.tests.lab import lab as labs
from nova_blockcopy.tests.lab import scene

LOG = logging.getLogger(__name__)

#: Seconds between two attempts to settle; nova-compute waits 10.
_PAUSE = 2


def address(it: labs.Lab, at: hosts.Host) -> pathlib.Path:
    """Return the path of the socket of a host's service."""
    return it.directory / f'service-{at.name}'


def trace(it: labs.Lab, at: hosts.Host) -> traces.Trace:
    """Return the trace of a host's service."""
    return traces.Trace(it.directory / f'trace-{at.name}')


class Service:
    """The service of one host.

    Each public method that begins with ``on_`` answers a question.

    :param at: the host of this service
    :param other: the other host
    :param options: options of the engine
    """

    def __init__(
        self,
        it: labs.Lab,
        at: hosts.Host,
        other: hosts.Host,
        options: dict[str, Any],
    ) -> None:
        self._at = at
        self._other = address(it, other)
        self._trace = trace(it, at)
        self._hook = hooks.Hook(self._trace)
        self._hook.install()
        self._trouble = channel.Trouble()
        self._settings = scene.settings(at, **options)
        self._journal = journal.Journal(self._settings.journal_dir)
        self._here = hypervisor.Hypervisor(
            at.hostname, hypervisor.Connector(at.uri)
        )
        self._dispatcher = at.call(scene.receiver, at, **options)

    def start(self) -> None:
        """Settle in the background what the journal has."""
        self._at.call(self._journal.tidy)
        threading.Thread(target=self._settle_all, daemon=True).start()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer a question of the harness or of the other service."""
        answer = getattr(self, f'on_{question.pop("ask")}')(**question)
        return answer or {}

    def on_ping(self) -> None:
        """Tell that the service runs."""

    def on_answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer a message of the other host's engine."""
        return self._at.call(self._dispatcher.handle, message)

    def on_hold(self, states: list[str]) -> None:
        """Hold a later migration at these states."""
        self._hook.arm(states)

    def on_release(self, state: str) -> None:
        """Let a migration go on that is held."""
        self._hook.release(state)

    def on_die(self, write: int = 0, *, pivoted: bool = False) -> None:
        """Die before a later write; see :meth:`hook.Hook.die_at`."""
        self._hook.die_at(write, pivoted=pivoted)

    def on_trouble(self, kind: str, messages: int) -> None:
        """Begin a trouble of the channel to the other host."""
        self._trouble.begin(kind, messages)

    def on_clock(self, seconds: float) -> None:
        """Shift the clock."""
        hooks.shift_clock(seconds)

    def on_migrate(self, request: dict[str, Any]) -> None:
        """Begin a migration; the trace tells how it ends."""
        migration = self._at.call(
            engine.Migration,
            wire.unpack(request, engine.Request),
            self._here,
            channel.Channel(self._other, self._trouble),
            self._settings,
        )
        threading.Thread(
            target=self._migrate, args=(migration,), daemon=True
        ).start()

    def _migrate(self, migration: engine.Migration) -> None:
        ended, reason = 'done', ''
        try:
            self._at.call(migration.run)
        except exception.MigrationUndone as e:
            ended, reason = 'undone', str(e)
        except exception.MigrationStuck as e:
            ended, reason = 'stuck', str(e)
        except exception.BlockCopyError as e:
            ended, reason = 'refused', str(e)
        except BaseException as e:
            ended, reason = 'crashed', f'{type(e).__name__}: {e}'
            LOG.exception('The migration ended unexpectedly')
        self._trace.add(ended=ended, reason=reason)
        if ended == 'stuck':
            self._settle_all()

    def _settle_all(self) -> None:
        left = self._at.call(self._journal.guests)
        while left:
            left = [g for g in left if not self._at.call(self._try, g)]
            if left:
                time.sleep(_PAUSE)

    def _try(self, guest: str) -> bool:
        """Settle a migration; tell whether no other attempt is needed."""
        try:
            record = self._journal.find(guest)
        except exception.JournalError as e:
            self._trace.add(unreadable=str(e))
            return True
        if record is None or record.role is not model.Role.SOURCE:
            return True
        try:
            side = self._settle(record)
        except Exception as e:  # another attempt may succeed
            self._trace.add(unsettled=f'{type(e).__name__}: {e}')
            if not isinstance(e, exception.BlockCopyError):
                LOG.exception('The attempt ended unexpectedly')
            return False
        self._trace.add(settled=side)
        return True

    def _settle(self, record: journal.Record) -> model.Role:
        side = recovery.settle(
            record,
            self._here,
            channel.Channel(self._other, self._trouble, questions=1),
            self._settings,
        )
        self._journal.close(record.guest)
        return side


class _Handler(socketserver.StreamRequestHandler):
    server: '_Server'

    def handle(self) -> None:
        question = json.loads(self.rfile.readline())
        answer = self.server.service.answer(question)
        self.wfile.write(json.dumps(answer).encode() + b'\n')


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, at: pathlib.Path, service: Service) -> None:
        at.unlink(missing_ok=True)
        super().__init__(str(at), _Handler)
        self.service = service


def _end_with_harness() -> None:
    """End this process when the harness has closed standard input."""
    sys.stdin.read()
    os._exit(1)


def _main(order: dict[str, Any]) -> None:
    logging.basicConfig(
        level=logging.INFO,
        format='%(asctime)s %(levelname)s %(name)s %(message)s',
    )
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    it = labs.Lab(order['lab'], small=order['small'])
    at, other = it.hosts if order['host'] == 'a' else reversed(it.hosts)
    threading.Thread(target=_end_with_harness, daemon=True).start()
    service = Service(it, at, other, order['options'])
    with _Server(address(it, at), service) as server:
        service.start()
        server.serve_forever()


if __name__ == '__main__':
    _main(json.loads(sys.argv[1]))
