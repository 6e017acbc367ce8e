# SPDX-License-Identifier: Apache-2.0
"""The options of Nova that nova-blockcopy-status declares are Nova's."""

import shlex

import ddt
import nova.conf
from nova import utils  # type: ignore[attr-defined]
from nova.virt.libvirt import driver
from oslo_config import cfg
from oslo_privsep import priv_context

from nova_blockcopy.cmd import configuration
from nova_blockcopy.cmd import helper
from nova_blockcopy.tests.nova import base

#: The tests have other values of these.
_PATHS = ('state_path', 'instances_path')
#: The first is a default of this host.
_OWN = {'my_ip', *_PATHS}


@ddt.ddt
class TestOptions(base.TestCase):
    def options(self, *lines):
        path = self.directory / 'nova.conf'
        path.write_text('\n'.join(lines))
        options = cfg.ConfigOpts()
        configuration.load(options, [f'--config-file={path}'])
        return options

    def test_their_defaults(self):
        options = self.options('')
        for group, opts in configuration.NOVA_OPTS.items():
            ours = options[group] if group else options
            theirs = nova.conf.CONF[group] if group else nova.conf.CONF
            for opt in opts:
                if opt.dest not in _OWN:
                    self.conf.conf.clear_override(opt.dest, group or None)
                    self.assertEqual(
                        theirs[opt.dest], ours[opt.dest], opt.dest
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
