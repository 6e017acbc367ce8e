# SPDX-License-Identifier: Apache-2.0
"""MariaDB, on a socket of the control host, with all databases in it.

Not SQLite: as soon as two services write at once, they find it locked, and
what they meant to write is lost.
"""

import pathlib
import subprocess

from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.lab import host

#: In the host's own /run, so it is the same in every cloud.
_SOCKET = '/run/mariadb.sock'
_NAMES = (
    *('keystone', 'placement', 'glance', 'neutron', 'cinder'),
    *('nova', 'nova_api', 'nova_cell0'),
)


def url(name: str) -> str:
    return (
        f'mysql+pymysql://root@localhost/{name}'
        f'?unix_socket={_SOCKET}&charset=utf8'
    )


class Database:
    """MariaDB.

    :param at: the control host
    :param directory: of its files; made by :meth:`create`
    :param log: of its service
    """

    def __init__(
        self, at: host.Host, directory: pathlib.Path, log: pathlib.Path
    ) -> None:
        self._at = at
        self._directory = directory
        self.service = service.Service(
            name='MariaDB',
            at=at,
            argv=(
                *('mariadbd', '--no-defaults', '--user=root'),
                *(f'--datadir={directory}', f'--socket={_SOCKET}'),
                *('--skip-networking', '--skip-name-resolve'),
                # nothing in it has to survive the machine
                '--innodb-flush-log-at-trx-commit=0',
                '--innodb-doublewrite=0',
                '--innodb-log-file-size=16M',
                '--max-connections=500',
            ),
            log=log,
            answers=self._answers,
        )

    def create(self) -> None:
        """Make the files and the databases, which are empty; it runs then."""
        self._at.run(
            *('mariadb-install-db', '--no-defaults', '--user=root'),
            *(f'--datadir={self._directory}', '--skip-test-db'),
            '--auth-root-authentication-method=normal',
        )
        self.service.start()
        self.service.wait()
        for name in _NAMES:
            self._say(f'create database {name} character set utf8')

    def _answers(self, _service: service.Service) -> bool:
        try:
            self._say('select 1')
        except subprocess.CalledProcessError:
            return False
        return True

    def _say(self, statement: str) -> None:
        client = ('mariadb', '--no-defaults', '--user=root')
        self._at.run(*client, f'--socket={_SOCKET}', f'--execute={statement}')
