# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-blockcopy-status``: is this compute host ready?"""

import sys
from collections.abc import Sequence

import libvirt
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy.cmd import answers
from nova_blockcopy.cmd import compute_driver
from nova_blockcopy.cmd import configuration
from nova_blockcopy.cmd import engine_options
from nova_blockcopy.cmd import helper
from nova_blockcopy.cmd import journals
from nova_blockcopy.cmd import network
from nova_blockcopy.cmd import places
from nova_blockcopy.cmd import subject
from nova_blockcopy.cmd import versions

#: For an error that is not the result of a check, as nova-status has it.
_BROKEN = 255


def _driver(host: subject.Host) -> upgradecheck.Result:
    return compute_driver.result(
        configuration.driver_settings(host.options, host.argv),
        configuration.files(host.options),
    )


def _options(host: subject.Host) -> upgradecheck.Result:
    return engine_options.result(host.name, host.settings)


@subject.as_nova_compute
@subject.with_helper
@subject.with_settings
def _certificates(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return network.certificates_of(host.options.host, settings)


@subject.with_settings
def _firewall(
    _host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return network.firewall(settings, network.look(settings.export_address))


@subject.as_nova_compute
def _helper(host: subject.Host) -> upgradecheck.Result:
    return helper.result(host.nova_compute, host.helper_fault)


@subject.as_nova_compute
@subject.with_helper
def _exporters(_host: subject.Host) -> upgradecheck.Result:
    return helper.scopes()


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
def _journals(
    _host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    return journals.result(journals.look(settings.journal_dir))


@subject.with_settings
def _versions(
    host: subject.Host, settings: conf.Settings
) -> upgradecheck.Result:
    try:
        found = versions.look(settings.connection_uri)
    except libvirt.libvirtError as e:
        return answers.warning(
            f'The versions are unknown, because libvirt does not answer this '
            f'user ({e}). Start libvirt, or run this command as root.'
        )
    return versions.result(host.name, settings, found)


_CHECKS: tuple[tuple[str, subject.Check], ...] = (
    ('Compute driver', _driver),
    ('Options', subject.with_files(_options)),
    ('Certificates', subject.with_files(_certificates)),
    ('Firewall of the exports', subject.with_files(_firewall)),
    ('Privsep helper', subject.with_files(_helper)),
    ('Exporters outlive nova-compute', subject.with_files(_exporters)),
    ('Journal directory', subject.with_files(_journal_dir)),
    ('Delta directory', subject.with_files(_delta_dir)),
    ('Unfinished migrations', subject.with_files(_journals)),
    ('libvirt and QEMU', subject.with_files(_versions)),
)


class Commands(upgradecheck.UpgradeCommands):
    """The checks of one compute host. They change nothing."""

    def __init__(self, host: subject.Host) -> None:
        self._upgrade_checks = tuple(
            (name, lambda _self, check=check: check(host))
            for name, check in _CHECKS
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
        configuration.load(options, argv)
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
