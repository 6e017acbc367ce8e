# SPDX-License-Identifier: Apache-2.0
"""MariaDB on the control host, with the databases of all services.

SQLite is not enough: when two services write at once, one of them finds the
database locked and loses its write.
"""

import pathlib
import subprocess

from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.lab import host

#: A path in the host's own /run, so each cloud can use the same path.
_SOCKET = '/run/mariadb.sock'
_NAMES = (
    *('keystone', 'placement', 'glance', 'neutron', 'cinder'),
    *('nova', 'nova_api', 'nova_cell0'),
)


def url(name: str) -> str:
    """Return the URL of a service's database."""
    return (
        f'mysql+pymysql://root@localhost/{name}'
        f'?unix_socket={_SOCKET}&charset=utf8'
    )


class Database:
    """MariaDB.

    :param at: the control host
    :param directory: the data directory, which :meth:`create` fills
    :param log: the log file of the server
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
                # the data need not survive a crash of the machine
                '--innodb-flush-log-at-trx-commit=0',
                '--innodb-doublewrite=0',
                '--innodb-log-file-size=16M',
                '--max-connections=500',
            ),
            log=log,
            answers=self._answers,
        )

    def create(self) -> None:
        """Create empty databases; MariaDB runs afterwards."""
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
