# SPDX-License-Identifier: Apache-2.0
"""The filter for nova-rootwrap, read and used by oslo.rootwrap itself.

The command lines are those of oslo.privsep in a process that has read the same
files as nova-compute.
"""

import configparser
import importlib.metadata
import pathlib

import ddt
from oslo_rootwrap import wrapper

import nova_blockcopy
from nova_blockcopy.nova import compat
from nova_blockcopy.runtime import privsep
from nova_blockcopy.tests.nova import base

_FILTERS = (
    pathlib.Path(nova_blockcopy.__file__).parents[1]
    / 'etc'
    / 'nova'
    / 'rootwrap.d'
)
_PROGRAM = 'privsep-helper'
_SOCKET = '/tmp/tmpa1_bcdef/privsep.sock'
_DIST = '/usr/share/nova/nova-dist.conf'
_NOVA = '/etc/nova/nova.conf'
_COMPUTE = '/etc/nova/nova-compute.conf'
_DIRS = ('/etc/nova/nova.conf.d', '/etc/nova/nova-compute.conf.d')
_CONTEXT = 'nova_blockcopy.runtime.privsep.context'


@ddt.ddt
class TestFilter(base.TestCase):
    def setUp(self):
        super().setUp()
        self.programs = self.directory / 'bin'
        self.programs.mkdir()
        (self.programs / _PROGRAM).touch(0o755)
        self.filters = [
            each
            for each in wrapper.load_filters([str(_FILTERS)])
            # oslo.rootwrap adds one that allows each command of the helper
            if each.name != _PROGRAM
        ]

    def test_it_is_installed_beside_those_of_nova(self):
        found = importlib.metadata.files('nova') or []
        (theirs,) = (
            each.parent for each in found if each.name == 'compute.filters'
        )
        setup = configparser.ConfigParser()
        setup.read(_FILTERS.parents[2] / 'setup.cfg')
        places = [
            line.partition(' = ')[0]
            for line in setup['files']['data_files'].splitlines()
        ]
        self.assertIn('/'.join(theirs.parts[-3:]), places)

    def started(self, files, directories=(), sock=_SOCKET):
        """What oslo.privsep starts when nova-compute was started so."""
        root = self.directory / 'root'
        arguments = []
        for option, paths in (
            ('--config-file', files),
            ('--config-dir', directories),
        ):
            for path in paths:
                place = root / path.lstrip('/')
                (place.parent if option.endswith('file') else place).mkdir(
                    parents=True, exist_ok=True
                )
                if option.endswith('file'):
                    place.touch()
                arguments += [option, str(place)]
        compat.CONF(
            arguments,
            project='nova',
            default_config_files=[],
            default_config_dirs=[],
        )
        line = [
            each.replace(str(root), '')
            for each in privsep.context.helper_command(sock)
        ]
        return line[line.index(_PROGRAM) :]

    def is_allowed(self, command):
        try:
            wrapper.match_filter(
                self.filters, command, exec_dirs=[str(self.programs)]
            )
        except wrapper.NoFilterMatched:
            return False
        return True

    @ddt.data(
        ((_NOVA,), ()),  # kolla
        (('/etc/nova/nova-cpu.conf',), ()),  # devstack
        ((_NOVA, _COMPUTE), ()),  # Debian and Ubuntu
        ((_DIST, _NOVA, _COMPUTE), ()),  # RDO
        ((_NOVA,), _DIRS[:1]),
        ((_NOVA, _COMPUTE), _DIRS[1:]),
        ((_DIST, _NOVA, _COMPUTE), _DIRS[:1]),
    )
    @ddt.unpack
    def test_commands_of_nova_compute(self, files, directories):
        command = self.started(files, directories)
        for each in (*files, *directories, _CONTEXT, _SOCKET):
            self.assertIn(each, command)
        self.assertTrue(self.is_allowed(command), command)

    def test_directories_that_oslo_config_finds_by_itself(self):
        self.assertTrue(
            self.is_allowed(
                [
                    *(_PROGRAM, '--config-file', _NOVA),
                    *('--config-dir', f'{_DIRS[0]}/'),
                    *('--config-dir', f'{_DIRS[1]}/'),
                    *('--privsep_context', _CONTEXT),
                    *('--privsep_sock_path', _SOCKET),
                ]
            )
        )

    @ddt.data(
        (_NOVA, '/etc/nova/../../tmp/nova.conf'),
        (_NOVA, '/etc/nova/..conf'),
        (_NOVA, '/etc/../tmp/nova.conf'),
        (_NOVA, '/etc/nova.d/nova.conf'),
        (_NOVA, '/etc/nova/sub/nova.conf'),
        (_NOVA, '/tmp/nova.conf'),
        (_NOVA, '/tmp/etc/nova/nova.conf'),
        (_NOVA, '/etc/nova/policy.yaml'),
        (_NOVA, f'{_NOVA} --config-dir /tmp'),
        (_CONTEXT, 'os_brick.privileged.default'),
        (_CONTEXT, 'nova.privsep.sys_admin_pctxt'),
        (_CONTEXT, f'{_CONTEXT}.channel'),
        (_CONTEXT, 'nova_blockcopyXruntime.privsep.context'),
        (_SOCKET, '/tmp/x'),
        (_SOCKET, '/tmp/../run/libvirt/libvirt-sock'),
        (_SOCKET, '/tmp/tmpa1_bcdef/../../run/privsep.sock'),
        (_SOCKET, f'/var{_SOCKET}'),
        (_SOCKET, f'{_SOCKET}.other'),
        (_PROGRAM, 'privsep-helper2'),
        (_PROGRAM, 'bash'),
    )
    @ddt.unpack
    def test_another_word(self, word, other):
        command = self.started([_NOVA])
        self.assertTrue(self.is_allowed(command))
        changed = [other if each == word else each for each in command]
        self.assertNotEqual(command, changed)
        self.assertFalse(self.is_allowed(changed))

    @ddt.data(
        ('--logfile', '/etc/passwd'),
        ('--config-dir', '/tmp'),
        ('--config-dir', '/etc/nova/../../tmp/nova.conf.d'),
        ('--config-file', '/tmp/nova.conf'),
        ('--debug',),
        ('--privsep_context', 'nova.privsep.sys_admin_pctxt'),
    )
    def test_more_words(self, more):
        command = self.started([_NOVA])
        for place in (1, 3, len(command)):
            self.assertFalse(
                self.is_allowed([*command[:place], *more, *command[place:]])
            )

    def test_fewer_words(self):
        command = self.started([_NOVA])
        for length in range(len(command)):
            self.assertFalse(self.is_allowed(command[:length]))
