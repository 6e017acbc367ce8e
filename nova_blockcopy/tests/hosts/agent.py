# SPDX-License-Identifier: Apache-2.0
"""The engine of one machine, in the unit of nova-compute, as user nova.

The script runs in the machine, beside the installed package. It takes the
place of nova-compute, which would need a whole cloud: it answers the other
machine's engine, and it settles at its start what its journals have.
"""

import json
import socket
import socketserver
import sys
import threading
import time
from typing import Any

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.host import deltas
from nova_blockcopy.host import directories
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import scope
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.source import migration
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.records import journal

_STATE = '/var/lib/nova/blockcopy'
_PORT = 7000
_ATTEMPTS = 5
#: Seconds; the machines are slow.
_TIMEOUT = 120
_HELD = 3600

Message = dict[str, Any]


class Channel:
    """The channel to the engine of the other machine."""

    def __init__(self, address: str) -> None:
        self._address = address

    def call(self, message: peer.Message) -> peer.Message:
        for attempt in range(_ATTEMPTS):
            try:
                return self._ask(message)
            except (OSError, ValueError) as e:
                reason = e
            time.sleep(attempt)
        raise exception.PeerError(
            operation=message['operation'], reason=f'no answer ({reason}).'
        )

    def _ask(self, message: peer.Message) -> peer.Message:
        to = (self._address, _PORT)
        with socket.create_connection(to, _TIMEOUT) as connection:
            with connection.makefile('rw') as stream:
                stream.write(json.dumps(message) + '\n')
                stream.flush()
                answer: peer.Message = json.loads(stream.readline())
                return answer


class Agent:
    """The engine of this machine.

    :param number: of the machine
    :param options: of the engine
    """

    def __init__(self, number: int, options: Message) -> None:
        self._addresses = [f'10.99.0.{n}' for n in (number, 3 - number)]
        self._log: list[str] = []
        self._go = threading.Event()
        self._options = options
        self._channel = Channel(self._addresses[1])
        wanted = self._settings()
        directories.prepare(
            wanted.journal_dir, 'journal_dir', directories.PRIVATE
        )
        deltas.prepare(wanted.delta_dir)
        self._log.append(f'scopes: {scope.obstacle() or "yes"}')
        self._journal = journal.Journal(wanted.journal_dir)
        self._here = hypervisor.Hypervisor(
            f'host-{number}', hypervisor.Connector(wanted.connection_uri)
        )
        self._there = dispatcher.Dispatcher(self._here, wanted)
        threading.Thread(target=self._settle_all, daemon=True).start()

    def handle(self, message: Message) -> Message:
        """Answer the other engine, or obey the test."""
        match message['operation']:
            case 'test-log':
                return {'log': self._log}
            case 'test-move':
                threading.Thread(
                    target=self._move, args=(message,), daemon=True
                ).start()
                return {}
            case 'test-go':
                self._go.set()
                return {}
            case _:
                return self._there.handle(message)

    def _settings(self, **more: Any) -> conf.Settings:
        options = cfg.ConfigOpts()
        conf.register_opts(options)
        options([])
        return conf.settings(
            options,
            journal_dir=f'{_STATE}/journal',
            delta_dir=f'{_STATE}/deltas',
            export_address=self._addresses[0],
            allow_plaintext=True,
            call_timeout=_TIMEOUT,
            **{**self._options, **more},
        )

    def _move(self, order: Message) -> None:
        def listen(now: progress.Progress) -> None:
            if now.state not in self._log:
                self._log.append(now.state)
                if now.state == order['abort']:
                    moving.abort()
                if now.state == order['hold']:
                    self._log.append('held')
                    self._go.wait(_HELD)

        self._log.clear()
        self._go.clear()
        moving = migration.Migration(
            migration.Request(
                guest=order['guest'],
                bases={
                    disk: model.BaseRequest(path=path)
                    for disk, path in order['bases'].items()
                },
                home=_endpoint(self._addresses[0]),
                destination=_endpoint(self._addresses[1]),
            ),
            self._here,
            self._channel,
            self._settings(mode=order['mode']),
            observers=[events.on_progress(listen)],
        )
        try:
            moving.run()
        except Exception as e:  # the test asks for it
            self._log.append(f'ended: {type(e).__name__}: {e}')
        else:
            self._log.append('ended: done')

    def _settle_all(self) -> None:
        left = set(self._journal.guests())
        while left:
            left = {guest for guest in left if not self._settled(guest)}
            time.sleep(1)

    def _settled(self, guest: str) -> bool:
        record = self._journal.find(guest)
        if record is None or record.role is not model.Role.SOURCE:
            return True
        try:
            side = recovery.settle(
                record, self._here, self._channel, self._settings()
            )
        except exception.BlockCopyError as e:
            self._log.append(f'unsettled: {e}')
            return False
        self._journal.close(guest)
        self._log.append(f'settled: {side}')
        return True


def _endpoint(address: str) -> model.Endpoint:
    return model.Endpoint(
        uri=f'qemu+tcp://{address}/system', migrate_uri=f'tcp://{address}'
    )


def main() -> None:
    # the helper is configured there, as that of nova-compute is
    cfg.CONF(['--config-file', '/etc/nova/agent.conf'])
    agent = Agent(int(sys.argv[1]), json.loads(sys.argv[2]))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = agent.handle(json.loads(self.rfile.readline()))
            self.wfile.write(json.dumps(answer).encode() + b'\n')

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(('', _PORT), Handler) as server:
        server.serve_forever()


if __name__ == '__main__':
    main()
