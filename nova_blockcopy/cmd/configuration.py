# SPDX-License-Identifier: Apache-2.0
"""The configuration of this host, as nova-compute reads it.

The command does not import Nova. So it also runs, and says what is wrong, on
a host where nova-compute does not start. The few options of Nova that the
checks need are declared here.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import socket
from collections.abc import Sequence

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy.conf import nova as nova_defaults

_PROJECT, _PROGRAM = 'nova', 'nova-compute'
#: The URI of libvirt, by Nova's ``virt_type`` (``LibvirtDriver._uri``).
_URIS = {'lxc': 'lxc:///', 'parallels': 'parallels:///system'}
_USUAL_URI = 'qemu:///system'

_DRIVER = cfg.StrOpt('compute_driver')
#: Options of Nova by group, with Nova's defaults; '' is [DEFAULT]. Only
#: ``my_ip`` has another default, which no check reads.
NOVA_OPTS: dict[str, list[cfg.Opt]] = {
    '': [
        _DRIVER,
        cfg.StrOpt('host', default=socket.gethostname()),
        cfg.StrOpt('pybasedir', default=''),
        cfg.StrOpt('state_path', default='$pybasedir'),
        cfg.StrOpt('instances_path', default='$state_path/instances'),
        cfg.StrOpt('my_ip', default='127.0.0.1'),
        cfg.StrOpt('rootwrap_config', default='/etc/nova/rootwrap.conf'),
        cfg.IntOpt('max_concurrent_live_migrations', default=1),
        cfg.IntOpt('rpc_response_timeout', default=60),
    ],
    'libvirt': [
        cfg.StrOpt('virt_type', default='kvm'),
        cfg.StrOpt('connection_uri', default=''),
        cfg.StrOpt('images_type', default='default'),
        cfg.StrOpt('live_migration_inbound_addr'),
        cfg.StrOpt('live_migration_uri'),
        cfg.StrOpt('live_migration_scheme'),
        cfg.IntOpt('live_migration_completion_timeout', default=800),
        cfg.BoolOpt('live_migration_with_native_tls', default=False),
    ],
    'workarounds': [cfg.BoolOpt('disable_rootwrap', default=False)],
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriverSetting:
    """The compute driver that one order of the files gives.

    ``place`` is the file, or the variable of the environment, that has the
    last word. Both are empty if nothing sets the driver. ``order`` says in
    words how nova-compute gets the files.
    """

    driver: str
    place: str
    order: str


def load(options: cfg.ConfigOpts, argv: Sequence[str]) -> None:
    """Read the files that nova-compute reads.

    :param options: gets the options of Nova and of this project
    :param argv: the arguments of the command
    :raises cfg.Error: a file cannot be read
    """
    for group, opts in NOVA_OPTS.items():
        options.register_opts(opts, group=group or None)
    options.set_default('pybasedir', _pybasedir())
    conf.register_opts(options)
    options(
        argv,
        project=_PROJECT,
        version=importlib.metadata.version('nova-blockcopy'),
        default_config_files=cfg.find_config_files(_PROJECT, _PROGRAM),
        default_config_dirs=cfg.find_config_dirs(_PROJECT, _PROGRAM),
    )
    nova_defaults.set_defaults(options)


def _pybasedir() -> str:
    """The directory that Nova lies in, as in Nova's nova/conf/paths.py."""
    found = importlib.util.find_spec('nova')
    if found is None or found.origin is None:
        return '/'
    return os.path.dirname(os.path.dirname(os.path.abspath(found.origin)))


def files(options: cfg.ConfigOpts) -> list[str]:
    """Return the directories and the files that are read, in this order."""
    return [*(options.config_dir or ()), *(options.config_file or ())]


def driver_settings(
    options: cfg.ConfigOpts, argv: Sequence[str]
) -> tuple[DriverSetting, ...]:
    """Find the compute driver of nova-compute.

    oslo.config reads default files before default directories, but files that
    are named by ``--config-file`` after them (``_parse_config_files`` in its
    cfg.py). Debian and Ubuntu start nova-compute with ``--config-file`` for
    the same files that oslo.config finds by itself elsewhere. So there are two
    settings, unless the caller of the command has named files.
    """
    found = _driver(options, 'without --config-file')
    if any(
        each.startswith(('--config-file', '--config-dir')) for each in argv
    ):
        return (found,)
    named = cfg.ConfigOpts()
    named.register_opt(_DRIVER)
    named(
        [f'--config-file={each}' for each in options.config_file],
        project=_PROJECT,
        default_config_files=[],
        default_config_dirs=options.config_dir,
    )
    return found, _driver(named, 'by --config-file')


def _driver(options: cfg.ConfigOpts, order: str) -> DriverSetting:
    driver, location = options.compute_driver, None
    if driver:
        location = options.get_location(_DRIVER.dest)
    return DriverSetting(
        driver=driver or '',
        place=location.detail if location else '',
        order=order,
    )


def settings(options: cfg.ConfigOpts) -> conf.Settings:
    """Return the settings of the engine in nova-compute.

    :raises InvalidOption: a value is out of its bounds
    """
    found = conf.settings(options, connection_uri=uri(options))
    nova_defaults.check(options, found)
    return found


def uri(options: cfg.ConfigOpts) -> str:
    """Return the URI of the libvirt that nova-compute uses."""
    return options.libvirt.connection_uri or _URIS.get(
        options.libvirt.virt_type, _USUAL_URI
    )
