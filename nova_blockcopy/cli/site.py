# SPDX-License-Identifier: Apache-2.0
"""This host, as the commands see it: its options, journals and libvirt."""

import functools
import os
from collections.abc import Sequence

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import configuration
from nova_blockcopy.cmd import helper
from nova_blockcopy.cmd import journals
from nova_blockcopy.cmd import libvirt_port
from nova_blockcopy.conf import nova
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import control
from nova_blockcopy.records import journal
from nova_blockcopy.records import report
from nova_blockcopy.runtime import nova_conf
from nova_blockcopy.runtime import privsep


class Site:
    """One compute host.

    :param settings: those of nova-compute
    :param name: this host's name in Nova
    :param options: those of Nova
    :param files: the arguments that name the files of nova-compute
    """

    def __init__(
        self,
        settings: conf.Settings,
        name: str,
        options: cfg.ConfigOpts,
        files: Sequence[str] = (),
    ) -> None:
        self.files = files
        self.settings = settings
        self.name = name
        self._options = options
        self.journal = journal.Journal(settings.journal_dir)
        self.reports = report.Reports(settings.journal_dir)

    @functools.cached_property
    def here(self) -> hypervisor.Hypervisor:
        """This host's libvirt."""
        connect = hypervisor.Connector(self.settings.connection_uri)
        return hypervisor.Hypervisor(self.name, connect)

    def records(self) -> journals.Found:
        """The journals of this host.

        :raises OSError: this user may not read them
        """
        return journals.look(self.settings.journal_dir)

    def record(self, instance: str) -> journal.Record:
        """The journal of one instance.

        :param instance: its UUID, or libvirt's name of it
        :raises NotMigrating: this host has none
        :raises JournalError: the journal cannot be read
        :raises OSError: this user may not read it
        """
        found = self.records()
        for each in found.unfinished:
            if instance in (each.guest, each.name):
                return each
        if os.path.exists(self.journal.path(os.path.basename(instance))):
            self.journal.find(instance)  # raises the reason
        raise exception.NotMigrating(
            instance=instance,
            host=self.name,
            directory=self.settings.journal_dir,
        )

    @property
    def home(self) -> model.Endpoint:
        """How the libvirt of another host reaches this host."""
        return self.endpoint(nova.own_address(self._options))

    def endpoint(self, address: str) -> model.Endpoint:
        """How a libvirt reaches that of another host."""
        return libvirt_port.endpoint(self._options, address)

    def serves(self) -> bool:
        """Whether a nova-compute of this host takes orders."""
        return control.attended(self.settings.journal_dir, control.SERVICE)

    def runs(self, guest: str) -> bool:
        """Whether a migration of a guest, by UUID, runs from this host."""
        return control.attended(self.settings.journal_dir, guest)


def of(options: cfg.ConfigOpts, argv: Sequence[str]) -> Site:
    """Read the options of nova-compute, and go on as its user.

    root may see and do all that nova-compute does. But what root writes,
    nova-compute could not read.

    :param argv: ``--config-file`` and ``--config-dir``
    :raises cfg.Error: a file cannot be read
    :raises InvalidOption: a value is out of its bounds
    """
    nova_conf.load(options, argv)
    helper.set_command(options)
    settings = configuration.settings(options)
    nova_compute = account.of_nova_compute(options.state_path)
    if os.geteuid() == 0 and not nova_compute.present:
        os.initgroups(nova_compute.name, nova_compute.gid)
        os.setgid(nova_compute.gid)
        os.setuid(nova_compute.uid)
        privsep.context.set_client_mode(True)
    return Site(settings, options.host, options, nova_conf.arguments(options))
