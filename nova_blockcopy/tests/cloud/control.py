# SPDX-License-Identifier: Apache-2.0
"""The control plane: all services that do not run on a compute host."""

import http.client
import pathlib
import socket
import urllib.parse
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy.tests.cloud import api
from nova_blockcopy.tests.cloud import database
from nova_blockcopy.tests.cloud import options
from nova_blockcopy.tests.cloud import schema
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.lab import host

TRANSPORT = f'rabbit://guest:guest@{api.ADDRESS}:5672/'
RABBITMQ = pathlib.Path('/usr/lib/rabbitmq/bin/rabbitmq-server')
#: The log message of a Nova service that has begun to serve.
NOVA_SERVES = 'Join ServiceGroup membership'
#: Seconds between two reports of a service, and seconds without a report after
#: which the service counts as down. Shorter times fail on a busy machine.
REPORTS = {'report_interval': 5, 'service_down_time': 40}
_VOLUME_DRIVER = 'nova_blockcopy.tests.cloud.volumes.LoopDriver'
_ETC = service.PREFIX / 'etc'
_SERVER = (service.program('python'), '-m', 'nova_blockcopy.tests.cloud.wsgi')


class Control:
    """The services of the control host.

    :param at: the control host
    """

    def __init__(self, at: host.Host) -> None:
        self.host = at
        self.api = api.Api(at)
        self.logs = at.directory / 'log'
        self._etc = at.directory / 'etc'
        self._state = at.directory / 'state'
        self._content = self._state / 'content'
        self.database = database.Database(
            at, self._content / 'mysql', self._log('mariadb')
        )
        self.rabbitmq = self._rabbitmq()
        self.keystone = self._wsgi(
            *('keystone', 'keystone.wsgi.api', api.IDENTITY),
            OS_KEYSTONE_CONFIG_FILES=str(self._etc / 'keystone.conf'),
        )
        self.conductor = self._nova('nova-conductor')
        self._others = (
            self._nova('nova-scheduler'),
            self._wsgi(
                *('nova-api', 'nova.wsgi.osapi_compute'),
                api.SERVICES['compute'][1],
                OS_NOVA_CONFIG_DIR=str(self._etc / 'nova'),
            ),
            self._wsgi(
                *('neutron', 'neutron.wsgi.api', api.SERVICES['network'][1]),
                OS_NEUTRON_CONFIG_DIR=str(self._etc),
                OS_NEUTRON_CONFIG_FILES='neutron.conf',
            ),
            self._wsgi(
                *('glance', 'glance.wsgi.api', api.SERVICES['image'][1]),
                OS_GLANCE_CONFIG_DIR=str(self._etc / 'glance'),
            ),
            self._wsgi(
                *('placement', 'placement.wsgi.api'),
                api.SERVICES['placement'][1],
                OS_PLACEMENT_CONFIG_DIR=str(self._etc),
            ),
        )
        self._volumes = (
            self._wsgi(
                *('cinder', 'cinder.wsgi.api', api.SERVICES['volumev3'][1]),
                *self._cinder,
            ),
            self._manager(
                'cinder-scheduler', self._cinder, answers=service.runs
            ),
            self._manager(
                'cinder-volume',
                self._cinder,
                answers=lambda _service: self._has_volumes(),
            ),
        )

    @property
    def services(self) -> tuple[service.Service, ...]:
        """All services but cinder, in the order of their start."""
        return (
            *(self.database.service, self.rabbitmq),
            *(self.keystone, self.conductor, *self._others),
        )

    def start(self) -> None:
        """Start all services but cinder, and wait for the conductor."""
        self._write_files()
        self.rabbitmq.start()
        content = schema.Schema(
            self.host, state=self._content, etc=self._etc, transport=TRANSPORT
        )
        content.lay(self.database, self.keystone)
        self.database.service.start()
        self.database.service.wait()
        self.rabbitmq.wait()
        # nova-compute cannot start without the conductor
        self.conductor.start()
        self.keystone.start()
        for each in self._others:
            each.start()
        self.conductor.wait()

    def wait(self) -> None:
        """Wait until all services answer."""
        for each in self.services:
            each.wait()

    def start_volumes(self) -> None:
        """Start cinder, and wait until it can create volumes."""
        for each in self._volumes:
            each.start()
        for each in self._volumes:
            each.wait()

    def openstack(self, arguments: Iterable[str]) -> int:
        """Run the openstack client on the terminal; return its exit code."""
        client = service.program('openstack')
        return self.host.interact(
            'env', *api.environment(), client, *arguments
        )

    def listened(self) -> set[str]:
        """Return the names of the queues of RabbitMQ that somebody reads."""
        printed = self.host.run(
            *('env', *self.rabbitmq.variables),
            *(str(RABBITMQ.with_name('rabbitmqctl')), '--quiet'),
            *('list_queues', 'name', 'consumers'),
        ).stdout
        rows = [line.split() for line in printed.splitlines()]
        return {name for name, count in rows[1:] if int(count)}

    def _log(self, name: str) -> pathlib.Path:
        return self.logs / f'{name}.log'

    def _rabbitmq(self) -> service.Service:
        home = self._state / 'rabbitmq'
        return service.Service(
            name='RabbitMQ',
            at=self.host,
            argv=(str(RABBITMQ),),
            log=self._log('rabbitmq'),
            answers=lambda _service: self._listens(TRANSPORT),
            environment={
                'HOME': str(home),
                'RABBITMQ_NODENAME': 'rabbit@localhost',
                'RABBITMQ_CONFIG_FILE': str(self._etc / 'rabbitmq.conf'),
                'RABBITMQ_ENABLED_PLUGINS_FILE': str(self._etc / 'plugins'),
                'RABBITMQ_MNESIA_BASE': str(home),
                'RABBITMQ_LOG_BASE': str(home),
                'RABBITMQ_LOGS': '-',
                'RABBITMQ_PID_FILE': str(home / 'pid'),
                'ERL_EPMD_ADDRESS': '127.0.0.1',
                # no busy waiting, because the machine has few processors
                'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
                    '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none '
                    '-kernel inet_dist_use_interface {127,0,0,1}'
                ),
            },
        )

    def _wsgi(
        self,
        name: str,
        module: str,
        url: str,
        *arguments: str,
        **environment: str,
    ) -> service.Service:
        port = urllib.parse.urlsplit(url).port
        return service.Service(
            name=name,
            at=self.host,
            argv=(*_SERVER, module, api.ADDRESS, str(port), *arguments),
            log=self._log(name),
            answers=lambda _service: self._speaks_http(url),
            environment=environment,
        )

    def _nova(self, name: str) -> service.Service:
        file = ('--config-file', str(self._etc / 'nova' / 'nova.conf'))
        return self._manager(name, file, answers=service.says(NOVA_SERVES))

    def _manager(
        self,
        name: str,
        file: Iterable[str],
        answers: Callable[[service.Service], bool],
    ) -> service.Service:
        return service.Service(
            name=name,
            at=self.host,
            argv=(service.program(name), *file, '--debug'),
            log=self._log(name),
            answers=answers,
        )

    @property
    def _cinder(self) -> tuple[str, str]:
        return '--config-file', str(self._etc / 'cinder.conf')

    def _has_volumes(self) -> bool:
        """Tell whether cinder's scheduler knows a storage pool."""
        return self.api.call(
            lambda to: any(True for _pool in to.block_storage.backend_pools())
        )

    def _listens(self, url: str) -> bool:
        return self.host.call(_connects, urllib.parse.urlsplit(url))

    def _speaks_http(self, url: str) -> bool:
        return self.host.call(_gets, urllib.parse.urlsplit(url))

    def _write_files(self) -> None:
        for name in ('content', 'rabbitmq', 'images', 'lock', 'cinder'):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        self._etc.mkdir(exist_ok=True)
        (self._etc / 'plugins').write_text('[].\n')
        (self._etc / 'rabbitmq.conf').write_text(
            f'listeners.tcp.1 = {api.ADDRESS}:5672\n'
            f'loopback_users = none\n'
            f'collect_statistics_interval = 60000\n'
        )
        files = {
            'keystone.conf': self._keystone_conf(),
            'placement.conf': self._placement_conf(),
            'glance/glance-api.conf': self._glance_conf(),
            'neutron.conf': self._neutron_conf(),
            'nova/nova.conf': self._nova_conf(),
            'cinder.conf': self._cinder_conf(),
        }
        for name, content in files.items():
            options.write(self._etc / name, content)
        # Nova looks for this file beside its configuration only
        paste = (_ETC / 'nova' / 'api-paste.ini').read_text()
        (self._etc / 'nova' / 'api-paste.ini').write_text(paste)

    def _keystone_conf(self) -> options.Options:
        return {
            'database': {'connection': database.url('keystone')},
            'token': {'provider': 'fernet'},
            'fernet_tokens': {'key_repository': self._content / 'fernet'},
            'credential': {'key_repository': self._content / 'credential'},
            'identity': {'password_hash_rounds': 4},
        }

    def _placement_conf(self) -> options.Options:
        return {
            'placement_database': {'connection': database.url('placement')},
            'api': {'auth_strategy': 'keystone'},
            'keystone_authtoken': _token(),
        }

    def _glance_conf(self) -> options.Options:
        return {
            'DEFAULT': {'enabled_backends': 'file:file'},
            'database': {'connection': database.url('glance')},
            'glance_store': {'default_backend': 'file'},
            'file': {'filesystem_store_datadir': self._state / 'images'},
            'os_glance_staging_store': {
                'filesystem_store_datadir': self._state / 'glance_staging'
            },
            'os_glance_tasks_store': {
                'filesystem_store_datadir': self._state / 'glance_tasks'
            },
            'paste_deploy': {
                'flavor': 'keystone',
                'config_file': _ETC / 'glance' / 'glance-api-paste.ini',
            },
            'oslo_concurrency': {'lock_path': self._state / 'lock'},
            # glance does not know the format of a kernel
            'image_format': {'require_image_format_match': False},
            'keystone_authtoken': _token(),
        }

    def _neutron_conf(self) -> options.Options:
        return {
            'DEFAULT': {
                'core_plugin': 'nova_blockcopy.tests.cloud.ports.Plugin',
                'service_plugins': '',
                'api_paste_config': _ETC / 'neutron' / 'api-paste.ini',
                'state_path': self._state / 'neutron',
                'transport_url': TRANSPORT,
                'notify_nova_on_port_status_changes': False,
                'notify_nova_on_port_data_changes': False,
                'rpc_workers': 0,
            },
            'database': {'connection': database.url('neutron')},
            'ml2': {
                'type_drivers': 'local',
                'tenant_network_types': 'local',
                'mechanism_drivers': '',
                'extension_drivers': '',
            },
            'oslo_concurrency': {'lock_path': self._state / 'lock'},
            'oslo_messaging_notifications': {'driver': 'noop'},
            'keystone_authtoken': _token(),
        }

    def _cinder_conf(self) -> options.Options:
        etc = _ETC / 'cinder'
        return {
            'DEFAULT': {
                'transport_url': TRANSPORT,
                'my_ip': api.ADDRESS,
                'state_path': self._state / 'cinder',
                'api_paste_config': etc / 'api-paste.ini',
                'resource_query_filters_file': etc / 'resource_filters.json',
                'glance_api_servers': api.SERVICES['image'][1],
                'enabled_backends': 'loop',
                **REPORTS,
            },
            'loop': {
                'volume_driver': _VOLUME_DRIVER,
                'lab_directory': self.host.directory.parent,
            },
            'database': {'connection': database.url('cinder')},
            'oslo_concurrency': {'lock_path': self._state / 'lock'},
            'oslo_messaging_notifications': {'driver': 'noop'},
            'keystone_authtoken': {
                **_token(),
                'service_token_roles_required': True,
            },
        }

    def _nova_conf(self) -> options.Options:
        own: options.Options = {
            'DEFAULT': {
                'state_path': self._state / 'nova',
                'my_ip': api.ADDRESS,
                # otherwise the scheduler's first search for hosts may begin
                # only after a minute
                'periodic_fuzzy_delay': 0,
            },
            'database': {'connection': database.url('nova')},
            'api_database': {'connection': database.url('nova_api')},
            'conductor': {'workers': 1},
            'scheduler': {
                'workers': 1,
                # seconds; finds new compute hosts without a command
                'discover_hosts_in_cells_interval': 1,
            },
            'oslo_concurrency': {'lock_path': self._state / 'lock'},
        }
        return options.merge(nova(), own)


def nova() -> options.Options:
    """Return the options that all services of Nova share."""
    return {
        'DEFAULT': {
            'transport_url': TRANSPORT,
            'rpc_response_timeout': 120,
            **REPORTS,
        },
        'api': {'auth_strategy': 'keystone'},
        'keystone_authtoken': _token(),
        'placement': _login(),
        'neutron': {
            **_login(),
            'endpoint_override': api.SERVICES['network'][1],
        },
        'glance': _login(),
        'service_user': {**_login(), 'send_service_user_token': True},
        'cinder': _login(),
        'vnc': {'enabled': False},
        'oslo_messaging_notifications': {'driver': 'noop'},
        'upgrade_levels': {'compute': 'auto'},
    }


def _login() -> dict[str, str]:
    return {'auth_type': 'password', **api.CREDENTIALS}


def _token() -> dict[str, str]:
    identity = api.IDENTITY.removesuffix('/v3')
    return {**_login(), 'www_authenticate_uri': identity}


def _connects(to: urllib.parse.SplitResult) -> bool:
    try:
        socket.create_connection((to.hostname, to.port), timeout=5).close()
    except OSError:
        return False
    return True


def _gets(url: urllib.parse.SplitResult) -> bool:
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request('GET', url.path or '/')
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
