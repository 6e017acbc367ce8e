# SPDX-License-Identifier: Apache-2.0
"""The content of a new cloud's databases: tables, users, the catalog.

Creating the content takes about a minute, so a cache keeps it for later
clouds.
"""

import concurrent.futures
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable

from openstack import connection  # type: ignore[import-not-found]

from nova_blockcopy.tests.cloud import api
from nova_blockcopy.tests.cloud import database
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import kernel

#: Seconds after which unused content is removed from the cache.
_KEPT_FOR = 24 * 3600
_PACKAGES = (
    *('nova', 'keystone', 'glance', 'neutron', 'cinder'),
    'openstack-placement',
)


class Schema:
    """The content of the databases, and keystone's keys.

    :param at: the control host
    :param state: the directory of databases and keys
    :param etc: the directory of the configuration files
    :param transport: the URL of RabbitMQ
    """

    def __init__(
        self,
        at: host.Host,
        *,
        state: pathlib.Path,
        etc: pathlib.Path,
        transport: str,
    ) -> None:
        self._at = at
        self._state = state
        self._etc = etc
        self._transport = transport

    def lay(
        self, content: database.Database, keystone: service.Service
    ) -> None:
        """Fill the directory from the cache, or create new content.

        The database server runs neither before nor after this call.

        :param content: the database server of the directory
        :param keystone: keystone, which runs while content is created
        """
        kept = kernel.cache() / f'cloud-{self._key()}'
        _forget_others(kept)
        if not kept.is_dir():
            self._make(content, keystone)
            _keep(self._state, kept)
            return
        shutil.copytree(kept, self._state, dirs_exist_ok=True)

    def _key(self) -> str:
        """Return a key that changes whenever the content would change."""
        versions = [importlib.metadata.version(name) for name in _PACKAGES]
        server = self._at.run('mariadbd', '--version').stdout
        ours = [
            pathlib.Path(file).read_text()
            for file in (__file__, api.__file__, database.__file__)
        ]
        everything = f'{versions}{server}{ours}{self._transport}'
        return hashlib.sha256(everything.encode()).hexdigest()[:16]

    def _make(
        self, content: database.Database, keystone: service.Service
    ) -> None:
        content.create()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            steps: list[Callable[[], None]] = [
                *(self._neutron, self._nova, self._keystone),
                *(self._glance, self._placement, self._cinder),
            ]
            for done in [pool.submit(step) for step in steps]:
                done.result()
        keystone.start()
        keystone.wait()
        api.Api(self._at).call(_enter_catalog)
        keystone.stop()
        content.service.stop()

    def _keystone(self) -> None:
        manage = ('keystone-manage', 'keystone.conf')
        root = ('--keystone-user', 'root', '--keystone-group', 'root')
        self._run(*manage, 'db_sync')
        self._run(*manage, 'fernet_setup', *root)
        self._run(*manage, 'credential_setup', *root)
        self._run(
            *(*manage, 'bootstrap'),
            *('--bootstrap-password', api.PASSWORD),
            *('--bootstrap-region-id', api.REGION),
            *('--bootstrap-admin-url', api.IDENTITY),
            *('--bootstrap-internal-url', api.IDENTITY),
            *('--bootstrap-public-url', api.IDENTITY),
        )

    def _placement(self) -> None:
        self._run('placement-manage', 'placement.conf', 'db', 'sync')

    def _glance(self) -> None:
        self._run('glance-manage', 'glance/glance-api.conf', 'db_sync')

    def _cinder(self) -> None:
        self._run('cinder-manage', 'cinder.conf', 'db', 'sync')

    def _neutron(self) -> None:
        self._run('neutron-db-manage', 'neutron.conf', 'upgrade', 'heads')

    def _nova(self) -> None:
        manage = ('nova-manage', 'nova/nova.conf')
        cell = ('cell_v2', 'create_cell', '--name', 'cell1')
        cell0 = ('cell_v2', 'map_cell0', '--database_connection')
        self._run(*manage, 'api_db', 'sync')
        self._run(*manage, *cell0, database.url('nova_cell0'))
        self._run(
            *(*manage, *cell, '--transport-url', self._transport),
            *('--database_connection', database.url('nova')),
        )
        self._run(*manage, 'db', 'sync')

    def _run(self, command: str, file: str, *arguments: str) -> None:
        configuration = ('--config-file', str(self._etc / file))
        program = service.program(command)
        try:
            self._at.run(program, *configuration, *arguments, timeout=300)
        except subprocess.CalledProcessError as e:
            raise host.LabError(
                f'{command} {" ".join(arguments)} failed: '
                f'{(e.stdout + e.stderr)[-2000:]}'
            ) from e


def _enter_catalog(to: connection.Connection) -> None:
    identity = to.identity
    for kind, (name, url) in api.SERVICES.items():
        entry = identity.create_service(type=kind, name=name)
        for interface in ('public', 'internal', 'admin'):
            identity.create_endpoint(
                service_id=entry.id,
                interface=interface,
                url=url,
                region_id=api.REGION,
            )
    # the services log in to each other as administrator
    role = identity.find_role('service') or identity.create_role(
        name='service'
    )
    identity.assign_project_role_to_user(
        identity.find_project('admin'), identity.find_user('admin'), role
    )


def _keep(state: pathlib.Path, kept: pathlib.Path) -> None:
    # renamed when complete, as another cloud may do the same
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        whole = pathlib.Path(scratch) / 'whole'
        shutil.copytree(state, whole)
        if not kept.is_dir():
            os.rename(whole, kept)


def _forget_others(kept: pathlib.Path) -> None:
    """Remove old content of other versions from the cache."""
    if kept.is_dir():
        os.utime(kept)
    for other in kept.parent.glob('cloud-*'):
        if time.time() - other.stat().st_mtime > _KEPT_FOR:
            shutil.rmtree(other, ignore_errors=True)
