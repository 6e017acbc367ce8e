# SPDX-License-Identifier: Apache-2.0
"""The options of Nova that nova-blockcopy-status declares are Nova's."""

import importlib.metadata
import os
import pathlib
import shlex

import ddt
import fixtures
import nova.conf
import testtools
from nova import utils
from nova.virt.libvirt import driver
from oslo_config import cfg
from oslo_messaging.rpc import client
from oslo_privsep import priv_context

from nova_blockcopy.cmd import configuration
from nova_blockcopy.cmd import helper
from nova_blockcopy.cmd import libvirt_port
from nova_blockcopy.cmd import novas
from nova_blockcopy.conf import nova as conf_nova
from nova_blockcopy.conf import nova as nova_options
from nova_blockcopy.runtime import nova_conf
from nova_blockcopy.tests.nova import base

#: The tests have other values of these.
_PATHS = ('state_path', 'instances_path')
#: The first is a default of this host.
_OWN = {'my_ip', *_PATHS}
#: An option of oslo.messaging.
_OF_MESSAGING = {'rpc_response_timeout'}


@ddt.ddt
class TestOptions(base.TestCase):
    def options(self, *lines):
        path = self.directory / 'nova.conf'
        path.write_text('\n'.join(lines))
        options = cfg.ConfigOpts()
        nova_conf.load(options, [f'--config-file={path}'])
        return options

    def test_their_defaults(self):
        options = self.options('')
        for group, opts in conf_nova.OPTS.items():
            ours = options[group] if group else options
            theirs = nova.conf.CONF[group] if group else nova.conf.CONF
            for opt in opts:
                if opt.dest not in {*_OWN, *_OF_MESSAGING}:
                    self.conf.conf.clear_override(opt.dest, group or None)
                    self.assertEqual(
                        theirs[opt.dest], ours[opt.dest], opt.dest
                    )

    def test_the_time_limit_of_messages(self):
        (theirs,) = (
            opt
            for opt in client._client_opts
            if opt.dest == 'rpc_response_timeout'
        )
        ours = self.options('').rpc_response_timeout
        self.assertEqual(theirs.default, ours)

    @ddt.data(
        {'virt_type': 'qemu'},
        {'virt_type': 'qemu', 'live_migration_scheme': 'tls'},
        {'virt_type': 'kvm', 'live_migration_uri': 'qemu+ssh://n@%s/system'},
        {'virt_type': 'parallels'},
    )
    def test_how_other_hosts_reach_libvirt(self, values):
        self.conf.config(group='libvirt', **values)
        options = self.options(
            *('[DEFAULT]', 'host = host-a', '[libvirt]'),
            *(f'{name} = {value}' for name, value in values.items()),
        )
        self.assertEqual(
            driver.LibvirtDriver._live_migration_uri('host-a'),
            libvirt_port.uri(options, nova_options.own_address(options)),
        )

    def test_the_paths(self):
        for path in _PATHS:
            self.conf.conf.clear_override(path)
        ours = self.options('')
        for path in _PATHS:
            self.assertEqual(nova.conf.CONF[path], ours[path])

    @ddt.data('kvm', 'qemu', 'lxc', 'parallels')
    def test_the_libvirt(self, kind):
        self.conf.config(group='libvirt', virt_type=kind)
        settings = configuration.settings(
            self.options('[libvirt]', f'virt_type = {kind}')
        )
        self.assertEqual(driver.LibvirtDriver._uri(), settings.connection_uri)

    @ddt.data(True, False)
    def test_the_command_of_the_helper(self, disabled):
        self.conf.config(group='workarounds', disable_rootwrap=disabled)
        self.patch(priv_context, '_HELPER_COMMAND_PREFIX', [])
        helper.set_command(
            self.options('[workarounds]', f'disable_rootwrap = {disabled}')
        )
        self.assertEqual(
            shlex.split(utils.get_root_helper()),
            priv_context._HELPER_COMMAND_PREFIX,
        )


class TestNova(testtools.TestCase):
    def test_it_fits(self):
        found = novas.look()
        self.assertEqual(
            novas.Fit(version=importlib.metadata.version('nova')), found
        )

    def test_a_name_that_it_lacks(self):
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (directory / 'sitecustomize.py').write_text(
            'from nova.virt.libvirt import driver\n'
            'del driver.LibvirtDriver._cleanup_lvm\n'
        )
        path = f'{directory}:{os.environ.get("PYTHONPATH", "")}'
        self.useFixture(fixtures.EnvironmentVariable('PYTHONPATH', path))
        (lacking,) = novas.look().lacking
        self.assertIn('LibvirtDriver._cleanup_lvm', lacking)
