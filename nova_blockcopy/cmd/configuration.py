# SPDX-License-Identifier: Apache-2.0
"""The configuration of this host, as nova-compute reads it.

The command does not import Nova. So it also runs, and says what is wrong, on
a host where nova-compute does not start.
"""

import dataclasses
from collections.abc import Sequence

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy.conf import nova
from nova_blockcopy.runtime import nova_conf

#: The URI of libvirt, by Nova's ``virt_type`` (``LibvirtDriver._uri``).
_URIS = {'lxc': 'lxc:///', 'parallels': 'parallels:///system'}
_USUAL_URI = 'qemu:///system'

_DRIVER = cfg.StrOpt('compute_driver')


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
        project=nova_conf.PROJECT,
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
    nova.check(options, found)
    return found


def uri(options: cfg.ConfigOpts) -> str:
    """Return the URI of the libvirt that nova-compute uses."""
    return options.libvirt.connection_uri or _URIS.get(
        options.libvirt.virt_type, _USUAL_URI
    )
