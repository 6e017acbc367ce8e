# SPDX-License-Identifier: Apache-2.0
"""The host that is checked, and what a check needs before it can be made.

If a check cannot be made, its result is a warning that says why.
"""

import functools
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import libvirt
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import plan
from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import answers
from nova_blockcopy.cmd import capabilities
from nova_blockcopy.cmd import configuration
from nova_blockcopy.cmd import helper
from nova_blockcopy.cmd import probe
from nova_blockcopy.cmd import versions
from nova_blockcopy.host import qemu_conf


class Host:
    """The facts about this host that several checks need, each found once.

    :param options: see :func:`nova_conf.load`
    :param argv: the arguments of the command
    """

    def __init__(self, options: cfg.ConfigOpts, argv: Sequence[str]) -> None:
        self.options = options
        self.argv = argv
        self.name = os.uname().nodename

    @functools.cached_property
    def nova_compute(self) -> account.Account:
        """The user that nova-compute runs as."""
        return account.of_nova_compute(self.options.state_path)

    @functools.cached_property
    def settings(self) -> conf.Settings | exception.InvalidOption:
        """The settings of the engine, or the reason why it has none."""
        try:
            return configuration.settings(self.options)
        except exception.InvalidOption as e:
            return e

    @functools.cached_property
    def qemu_settings(self) -> Mapping[str, str] | None:
        """The settings of ``qemu.conf``; None if they are not known."""
        if not account.can_look(self.nova_compute) or self.helper_fault:
            return None
        return qemu_conf.look()

    @functools.cached_property
    def described(self) -> capabilities.Capabilities:
        """The host as libvirt describes it.

        :raises libvirtError: libvirt does not answer
        """
        return capabilities.look(configuration.uri(self.options))

    @functools.cached_property
    def found_versions(self) -> plan.Versions:
        """The versions of libvirt and QEMU.

        :raises libvirtError: libvirt does not answer
        """
        return versions.look(configuration.uri(self.options))

    def nova_computes_helper_fault(self) -> str:
        """Why the user of nova-compute cannot start the helper."""
        if self.nova_compute.present or self.nova_compute.uid == 0:
            return self.helper_fault
        return probe.fault(self.options, self.nova_compute)

    @functools.cached_property
    def helper_fault(self) -> str:
        """Why functions cannot run as root; '' if they can."""
        return helper.fault()


Check = Callable[[Host], upgradecheck.Result]


def with_files(check: Check) -> Check:
    """Make a check only if a configuration file was found.

    The defaults alone say nothing about the host of a nova-compute.
    """

    def checked(host: Host) -> upgradecheck.Result:
        if not configuration.files(host.options):
            return answers.warning(
                'This was not checked, because no configuration file of '
                'nova-compute was found.'
            )
        return check(host)

    return checked


def as_nova_compute(check: Check) -> Check:
    """Make a check only with the rights of nova-compute or of root."""

    def checked(host: Host) -> upgradecheck.Result:
        remedy = (
            f'Run this command as root or as the user '
            f'{host.nova_compute.name}.'
        )
        if not account.can_look(host.nova_compute):
            return answers.warning(f'This was not checked. {remedy}')
        try:
            return check(host)
        except OSError as e:
            return answers.warning(
                f'This was not checked ({e.filename}: {e.strerror}). {remedy}'
            )

    return checked


def with_libvirt(check: Check) -> Check:
    """Make a check only if libvirt answers."""

    def checked(host: Host) -> upgradecheck.Result:
        try:
            return check(host)
        except libvirt.libvirtError as e:
            return answers.warning(
                f'This was not checked, because libvirt does not answer this '
                f'user ({e}). Start libvirt, or run this command as root.'
            )

    return checked


def with_helper(check: Check) -> Check:
    """Make a check only if functions can run as root."""

    def checked(host: Host) -> upgradecheck.Result:
        if host.helper_fault:
            return answers.warning(
                'This was not checked, because the privsep helper does not '
                'start.'
            )
        return check(host)

    return checked


def with_settings(
    check: Callable[[Host, conf.Settings], upgradecheck.Result],
) -> Check:
    """Make a check only if the options of the engine are valid."""

    def checked(host: Host) -> upgradecheck.Result:
        settings = host.settings
        if isinstance(settings, exception.InvalidOption):
            return answers.warning(
                'This was not checked, because an option is not valid.'
            )
        return check(host, settings)

    return checked
