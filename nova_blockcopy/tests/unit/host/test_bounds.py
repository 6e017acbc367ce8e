# SPDX-License-Identifier: Apache-2.0
"""The decision about a thing that a path leads to, and the configuration."""

import os
import stat

import ddt
from oslo_config import cfg
from oslo_config import fixture

from nova_blockcopy import exception
from nova_blockcopy.host import access
from nova_blockcopy.host import bounds
from nova_blockcopy.runtime import nova_conf
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

FILE, BLOCK = stat.S_IFREG | 0o600, stat.S_IFBLK | 0o660
BOUNDS = bounds.Bounds(
    images=('/nova/instances', '/mnt/'),
    groups=('a-b', 'c'),
    overlays=('/nova/deltas',),
    certificates='/pki',
)
CONFIGURATION = """
[DEFAULT]
state_path = /state
{default}
[libvirt]
{libvirt}
[blockcopy]
{blockcopy}
"""


@ddt.ddt
class TestRefusal(base.TestCase):
    def refusal(self, place, mode=FILE, **more):
        return bounds.refusal(
            bounds.Thing(place=place, mode=mode, **more), BOUNDS
        )

    @ddt.data('/nova/instances/uuid/disk', '/nova/instances/x', '/mnt/x')
    def test_a_file(self, place):
        self.assertIsNone(self.refusal(place))

    @ddt.data('/nova/instances', '/nova/instances-old/x', '/nova/x', '/mntx')
    def test_a_file_elsewhere(self, place):
        said = self.refusal(place)
        self.assertIn(place, said)
        self.assertIn('image_dirs', said)

    @ddt.data(
        *(stat.S_IFDIR, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK),
        stat.S_IFLNK,
    )
    def test_another_thing(self, kind):
        thing = bounds.Thing(place='/nova/instances/x', mode=kind | 0o600)
        for each in (BOUNDS, None):
            self.assertIn('neither', str(bounds.refusal(thing, each)))

    @ddt.data('a--b-lv', 'a--b-l--v', 'c-lv', 'c-lv-real')
    def test_a_volume_of_the_groups(self, mapped):
        self.assertIsNone(self.refusal('/dev/dm-0', BLOCK, mapped=mapped))

    @ddt.data('', 'a-b-lv', 'a--lv', 'c', 'c-', 'c--d-lv', 'cd-lv', 'x-c-lv')
    def test_another_device(self, mapped):
        said = self.refusal('/dev/dm-0', BLOCK, mapped=mapped)
        self.assertIn('/dev/dm-0', said)
        self.assertIn('images_volume_group', said)

    @ddt.data('/dev/c', '/dev/a-b', '/nova/instances/x', '/mnt')
    def test_a_name_that_only_root_can_make(self, directory):
        self.assertIsNone(
            self.refusal('/dev/loop0', BLOCK, directory=directory)
        )

    @ddt.data('', '/dev', '/dev/cd', '/dev/mapper')
    def test_a_name_elsewhere(self, directory):
        self.assertIsNotNone(
            self.refusal('/dev/loop0', BLOCK, directory=directory)
        )

    def test_without_bounds(self):
        for mode in (FILE, BLOCK):
            thing = bounds.Thing(place='/x', mode=mode)
            self.assertIsNone(bounds.refusal(thing, None))


class TestNames(base.TestCase):
    """A directory in which others may change names says nothing."""

    def test_of_root(self):
        found = access._of_root(str(self.directory))
        mine = os.geteuid() == 0
        self.assertEqual(str(self.directory.resolve()) if mine else '', found)
        self.directory.chmod(0o770)
        self.assertEqual('', access._of_root(str(self.directory)))

    def test_a_guest(self):
        self.assertEqual(samples.UUID, bounds.guest(samples.UUID))
        for name in ('', '..', f'{samples.UUID}/..', f'{samples.UUID}\n'):
            self.assertRaises(exception.ForbiddenPath, bounds.guest, name)


class TestConfiguration(base.TestCase):
    def read(self, **sections):
        path = self.directory / 'nova.conf'
        given = dict.fromkeys(('default', 'libvirt', 'blockcopy'), '')
        path.write_text(CONFIGURATION.format(**{**given, **sections}))
        known, options = cfg.ConfigOpts(), cfg.ConfigOpts()
        known([f'--config-file={path}'], project='privsep')
        nova_conf.load_again(options, known)
        return bounds.of(options)

    def test_the_defaults_of_nova(self):
        self.assertEqual(
            bounds.Bounds(
                images=('/state/instances', '/state/blockcopy/deltas'),
                groups=(),
                overlays=('/state/blockcopy/deltas',),
                certificates='/etc/pki/qemu',
            ),
            self.read(),
        )

    def test_the_options(self):
        self.assertEqual(
            bounds.Bounds(
                images=('/instances', '/deltas', '/x', '/y'),
                groups=('nova-vg',),
                overlays=('/deltas', '/x', '/y'),
                certificates='/pki',
            ),
            self.read(
                default='instances_path = /instances',
                libvirt='images_volume_group = nova-vg',
                blockcopy='delta_dir = /deltas\nimage_dirs = /x, /y\n'
                'export_tls_dir = /pki',
            ),
        )

    def test_a_process_that_is_no_helper_has_none(self):
        bounds.current.cache_clear()
        self.addCleanup(bounds.current.cache_clear)
        self.assertIsNone(bounds.current())

    def test_the_options_of_the_helper_are_found(self):
        bounds.current.cache_clear()
        self.addCleanup(bounds.current.cache_clear)
        config = self.useFixture(fixture.Config(cfg.CONF))
        path = self.directory / 'nova.conf'
        path.write_text('[blockcopy]\nimage_dirs = /x\n')
        cfg.CONF([f'--config-file={path}'])
        config.register_opt(cfg.StrOpt('privsep_context'))
        found = bounds.current()
        self.assertIn('/x', found.images if found else ())
