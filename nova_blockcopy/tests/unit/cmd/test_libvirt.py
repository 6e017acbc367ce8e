# SPDX-License-Identifier: Apache-2.0
"""Libvirt's own settings: lock manager, security driver, user, port."""

import os
import pathlib

import ddt
from oslo_config import cfg

from nova_blockcopy.cmd import libvirt_port
from nova_blockcopy.cmd import security_driver
from nova_blockcopy.conf import nova as nova_options
from nova_blockcopy.host import qemu_conf
from nova_blockcopy.runtime import nova_conf
from nova_blockcopy.tests.unit.cmd import base

_LOCKS, _SECURITY, _USER = 'Lock manager', 'Security driver', 'User of QEMU'
_PORT = 'libvirt for other hosts'


@ddt.ddt
class TestQemuConf(base.CommandTestCase):
    def test_its_grammar(self):
        found = qemu_conf.parsed(
            '# a = "1"\nlock_manager = "lockd" # x\n  dynamic_ownership=0\n'
            'namespaces = [ "mount" ]\nuser="libvirt-qemu"\n'
        )
        self.assertEqual(
            {
                'lock_manager': 'lockd',
                'dynamic_ownership': '0',
                'user': 'libvirt-qemu',
            },
            found,
        )

    @ddt.data('lockd', 'sanlock')
    def test_a_lock_manager(self, name):
        self.qemu_conf.write_text(f'lock_manager = "{name}"\n')
        self.assert_only(
            self.check(self.file()),
            *(_LOCKS, base.FAILURE, f'"{name}"', 'Remove lock_manager'),
        )

    def test_nop_is_none(self):
        self.qemu_conf.write_text('lock_manager = "nop"\n')
        self.assertEqual(base.SUCCESS, self.check(self.file()).code)

    def test_libvirt_runs_elsewhere(self):
        self.qemu_conf.unlink()
        self.assert_only(
            self.check(self.file()), _LOCKS, base.WARNING, 'not checked'
        )


@ddt.ddt
class TestSecurityDriver(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.connection.models = ('apparmor', 'dac')
        self.profiles = self.directory / 'profiles'
        self.local = self.directory / 'local'
        name = security_driver.__name__
        self.stub(f'{name}._PROFILES', str(self.profiles))
        self.stub(f'{name}._LOCAL', str(self.local))

    def test_selinux(self):
        self.connection.models = ('selinux', 'dac')
        self.assert_only(
            self.check(self.file()), _SECURITY, base.WARNING, 'SELinux'
        )

    def test_apparmor(self):
        self.profiles.mkdir()
        said = self.check(self.file())
        self.assert_said(said, _SECURITY, base.SUCCESS, 'AppArmor')

    def test_profiles_that_are_elsewhere(self):
        self.assert_only(
            self.check(self.file()),
            *(_SECURITY, base.FAILURE, self.profiles, 'mount'),
        )
        self.connection.library = 12_001_000
        self.assertEqual(base.SUCCESS, self.check(self.file()).code)

    def test_certificates_that_qemu_may_not_read(self):
        self.profiles.mkdir()
        pki = self.directory / 'pki'
        self.qemu_conf.write_text(f'default_tls_x509_cert_dir = "{pki}"\n')
        configured = self.file('export_tls = true')
        self.assert_said(
            self.check(configured), _SECURITY, base.FAILURE, pki, self.local
        )
        self.local.write_text(f'{pki}/** r,\n')
        self.assert_said(self.check(configured), _SECURITY, base.SUCCESS)
        self.local.unlink()
        self.qemu_conf.write_text('')
        self.assert_said(self.check(configured), _SECURITY, base.SUCCESS)


class TestUser(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.connection.user = '+64055:+64056'
        self.directory.chmod(0o711)

    def test_it_passes(self):
        self.assertEqual(base.SUCCESS, self.check(self.file()).code)

    def test_it_does_not_pass(self):
        self.state.chmod(0o750)
        self.assert_only(
            self.check(self.file()),
            *(_USER, base.FAILURE, f'chmod o+x {self.state}', '64055'),
        )

    def test_its_group_passes(self):
        self.state.chmod(0o710)
        os.chown(self.state, -1, os.getgid())
        self.connection.user = f'+64055:+{os.getgid()}'
        self.assertEqual(base.SUCCESS, self.check(self.file()).code)

    def test_libvirt_gives_it_nothing(self):
        self.qemu_conf.write_text('dynamic_ownership = 0\n')
        self.assert_only(
            self.check(self.file()),
            *(_USER, base.FAILURE, 'dynamic_ownership = 1'),
        )

    def test_libvirt_does_not_tell(self):
        self.connection.models = ('none',)
        self.assertEqual(base.SUCCESS, self.check(self.file()).code)


@ddt.ddt
class TestPort(base.CommandTestCase):
    @ddt.data(
        ('host = host-b', 'qemu+tcp://host-b/system'),
        (
            '[libvirt]\nlive_migration_inbound_addr = 2001:db8::1\n'
            'live_migration_scheme = tls',
            'qemu+tls://[2001:db8::1]/system',
        ),
        (
            '[libvirt]\nlive_migration_uri = qemu+ssh://n@%s/system\n'
            'live_migration_inbound_addr = 192.0.2.1',
            'qemu+ssh://n@192.0.2.1/system',
        ),
    )
    @ddt.unpack
    def test_the_uri(self, text, uri):
        options = cfg.ConfigOpts()
        path = self.file(f'[DEFAULT]\n{text}')
        nova_conf.load(options, [f'--config-file={path}'])
        self.assertEqual(
            uri, libvirt_port.uri(options, nova_options.own_address(options))
        )

    def test_nothing_listens(self):
        said = 'port 16509 does not answer.'
        self.stub('nova_blockcopy.host.reach.fault', lambda _uri, _s: said)
        self.assert_only(
            self.check(self.file('[DEFAULT]\nhost = host-b')),
            *(_PORT, base.FAILURE, 'qemu+tcp://host-b/system', said),
        )


class TestSight(base.CommandTestCase):
    def test_the_processes_are_hidden(self):
        self.stub('nova_blockcopy.host.visibility._current', lambda: 'own')
        for text, code in (
            ('', base.WARNING),
            ('[libvirt]\nimages_type = lvm', base.FAILURE),
        ):
            self.assert_only(
                self.check(self.file(text)),
                *('Users of images', code, 'pid_mode'),
            )


@ddt.ddt
class TestFileSystems(base.CommandTestCase):
    @ddt.data(('tmpfs', 'a reboot empties'), ('nfs4', 'other hosts may'))
    @ddt.unpack
    def test_an_unfit_one(self, kind, words):
        self.mount(kind)
        self.assert_only(
            self.check(self.file()),
            *('File systems', base.FAILURE, words, 'delta_dir'),
        )

    def test_that_of_the_instances(self):
        text = f'[DEFAULT]\ninstances_path = {self.directory}/instances'
        self.assert_only(
            self.check(self.file(text)),
            *('File systems', base.WARNING, 'a file system of its own'),
        )
        said = self.check(self.file(f'mode = direct\n{text}'))
        self.assertEqual(base.SUCCESS, said.code)


class TestPrograms(base.CommandTestCase):
    def test_one_is_missing(self):
        found = pathlib.Path(self.program('qemu-img', 'exit 0')).parent
        self.stub('os.environ', {**os.environ, 'PATH': str(found)})
        said = self.check(self.file())
        self.assert_said(
            said, 'Programs', base.FAILURE, 'qemu-nbd is not installed'
        )

    def test_one_is_too_old(self):
        self.program('qemu-nbd', 'echo "qemu-nbd version 6.1.0"')
        self.assert_only(
            self.check(self.file()),
            *('Programs', base.FAILURE, 'qemu-nbd 6.1.0', '6.2.0'),
        )
