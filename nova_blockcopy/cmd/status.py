# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-blockcopy-status``: is this compute host ready?"""

import sys
from collections.abc import Sequence

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy.cmd import compute_driver
from nova_blockcopy.cmd import configuration
from nova_blockcopy.cmd import engine_options
from nova_blockcopy.cmd import file_systems
from nova_blockcopy.cmd import helper
from nova_blockcopy.cmd import journals
from nova_blockcopy.cmd import libvirt_port
from nova_blockcopy.cmd import lock_manager
from nova_blockcopy.cmd import network
from nova_blockcopy.cmd import novas
from nova_blockcopy.cmd import places
from nova_blockcopy.cmd import ports
from nova_blockcopy.cmd import programs
from nova_blockcopy.cmd import qemu_user
from nova_blockcopy.cmd import rootwrap
from nova_blockcopy.cmd import security_driver
from nova_blockcopy.cmd import sense
from nova_blockcopy.cmd import sight
from nova_blockcopy.cmd import subject
from nova_blockcopy.cmd import time_limits
from nova_blockcopy.cmd import unit
from nova_blockcopy.cmd import versions
from nova_blockcopy.host import directories
from nova_blockcopy.host import scope
from nova_blockcopy.host import visibility
from nova_blockcopy.runtime import nova_conf

#: For an error that is not the result of a check, as nova-status has it.
_BROKEN = 255


def _nova(_host: subject.Host) -> upgradecheck.Result:
    return novas.result(novas.look())


def _driver(host: subject.Host) -> upgradecheck.Result:
    return compute_driver.result(
        configuration.driver_settings(host.options, host.argv),
        configuration.files(host.options),
    )


def _options(host: subject.Host) -> upgradecheck.Result:
    return engine_options.result(host.name, host.settings)


@subject.with_settings
def _sense(host: subject.Host, settings: conf.Settings) -> upgradecheck.Result:
    return sense.result(settings, host.options)


@subject.with_settings
def _time_limits(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return time_limits.result(settings, host.options)


@subject.as_nova_compute
def _rootwrap(host: subject.Host) -> upgradecheck.Result:
    return rootwrap.result(rootwrap.look(host.options, host.nova_compute))


@subject.as_nova_compute
def _helper(host: subject.Host) -> upgradecheck.Result:
    return helper.result(host.nova_compute, host.nova_computes_helper_fault())


@subject.as_nova_compute
@subject.with_helper
@subject.with_settings
def _programs(
    _host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return programs.result(settings, programs.look(settings))


@subject.as_nova_compute
@subject.with_helper
def _exporters(_host: subject.Host) -> upgradecheck.Result:
    return unit.result(scope.obstacle(), unit.look())


@subject.as_nova_compute
@subject.with_helper
def _sight(host: subject.Host) -> upgradecheck.Result:
    return sight.result(visibility.current(), host.options.libvirt.images_type)


@subject.as_nova_compute
@subject.with_settings
def _journal_dir(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return places.journal_dir(settings.journal_dir, host.nova_compute)


@subject.as_nova_compute
@subject.with_helper
@subject.with_settings
def _delta_dir(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return places.delta_dir(settings, host.nova_compute)


@subject.as_nova_compute
@subject.with_settings
def _file_systems(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return file_systems.result(
        settings,
        file_systems.look('[blockcopy] journal_dir', settings.journal_dir),
        file_systems.look('[blockcopy] delta_dir', settings.delta_dir),
        file_systems.look('instances_path', host.options.instances_path),
    )


@subject.as_nova_compute
@subject.with_helper
@subject.with_settings
def _certificates(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return network.certificates_of(host.options.host, settings)


@subject.as_nova_compute
@subject.with_helper
@subject.with_settings
def _certificates_of_qemu(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return network.certificates_of_qemu(
        host.options.host, settings, host.qemu_settings
    )


@subject.with_settings
def _ports(host: subject.Host, settings: conf.Settings) -> upgradecheck.Result:
    return ports.result(settings, ports.look(settings), host.qemu_settings)


@subject.with_settings
def _firewall(
    _host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return network.firewall(settings, network.look(settings.export_address))


def _libvirt_port(host: subject.Host) -> upgradecheck.Result:
    return libvirt_port.result(host.options)


@subject.with_libvirt
@subject.with_settings
def _versions(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return versions.result(host.name, settings, host.found_versions)


@subject.as_nova_compute
@subject.with_helper
def _lock_manager(host: subject.Host) -> upgradecheck.Result:
    return lock_manager.result(host.qemu_settings)


@subject.with_libvirt
@subject.with_settings
def _security_driver(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    pki = network.directory_of_qemu(host.qemu_settings or {})
    return security_driver.result(
        host.described,
        host.found_versions.libvirt,
        seen=security_driver.profiles_seen(),
        rules=security_driver.local_rules(),
        certificates=[pki] if settings.export_tls else [],
    )


@subject.with_libvirt
@subject.as_nova_compute
@subject.with_settings
def _qemu_user(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return qemu_user.result(
        host.described,
        directories.look(settings.delta_dir),
        host.qemu_settings,
    )


@subject.as_nova_compute
@subject.with_settings
def _journals(
    _host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return journals.result(journals.look(settings.journal_dir))


#: The documentation has the same list.
CHECKS: tuple[tuple[str, subject.Check], ...] = (
    ('Nova', _nova),
    ('Compute driver', _driver),
    ('Options', subject.with_files(_options)),
    ('Options together', subject.with_files(_sense)),
    ('Time limits', subject.with_files(_time_limits)),
    ('Rootwrap filter', subject.with_files(_rootwrap)),
    ('Privsep helper', subject.with_files(_helper)),
    ('Programs', subject.with_files(_programs)),
    ('Exporters outlive nova-compute', subject.with_files(_exporters)),
    ('Users of images', subject.with_files(_sight)),
    ('Journal directory', subject.with_files(_journal_dir)),
    ('Delta directory', subject.with_files(_delta_dir)),
    ('File systems', subject.with_files(_file_systems)),
    ('Certificates', subject.with_files(_certificates)),
    ('Certificates of QEMU', subject.with_files(_certificates_of_qemu)),
    ('Ports of the exports', subject.with_files(_ports)),
    ('Firewall of the exports', subject.with_files(_firewall)),
    ('libvirt for other hosts', subject.with_files(_libvirt_port)),
    ('libvirt and QEMU', subject.with_files(_versions)),
    ('Lock manager', subject.with_files(_lock_manager)),
    ('Security driver', subject.with_files(_security_driver)),
    ('User of QEMU', subject.with_files(_qemu_user)),
    ('Unfinished migrations', subject.with_files(_journals)),
)


class Commands(upgradecheck.UpgradeCommands):
    """The checks of one compute host. They change nothing."""

    def __init__(self, host: subject.Host) -> None:
        self._upgrade_checks = tuple(
            (name, lambda _self, check=check: check(host))
            for name, check in CHECKS
        )


def main(
    argv: Sequence[str] | None = None, options: cfg.ConfigOpts | None = None
) -> int:
    """Run the command.

    :param argv: the arguments; those of this process by default
    :param options: the global ones by default, in which oslo.privsep looks
        for the options of the helper
    :returns: the highest code of all checks, or 255
    """
    if argv is None:
        argv = sys.argv[1:]
    if options is None:
        options = cfg.CONF
    host = subject.Host(options, argv)
    upgradecheck.register_cli_options(options, Commands(host))
    try:
        nova_conf.load(options, argv)
        helper.set_command(options)
    except (cfg.Error, ValueError) as e:
        print(f'The configuration cannot be read: {e}', file=sys.stderr)
        return _BROKEN
    # UpgradeCommands looks for --json there
    upgradecheck.CONF = options
    code: int = upgradecheck.run(options)
    return code


if __name__ == '__main__':
    sys.exit(main())
