# SPDX-License-Identifier: Apache-2.0
"""Overlays go into what they lie on, and never over what is newer."""

import dataclasses
import os
import subprocess

import ddt
import fixtures

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import apparmor
from nova_blockcopy.host import deltas
from nova_blockcopy.migration import pauses
from nova_blockcopy.migration.source import merge
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world


@ddt.ddt
class TestMerge(world.WorldTestCase):
    """A guest on host a runs on overlays: two on vda, one on vdb."""

    def setUp(self):
        super().setUp()
        self.into = {
            disk: samples.image(self.path('a', disk), samples.FILE)
            for disk in self.disks
        }
        self.tops = dict(self.into)
        (self.directory / 'a' / 'deltas').mkdir()
        for disk, text in (('vda', 'p'), ('vdb', 'q'), ('vda', 'r')):
            self.put_on(disk)
            deltas.create(self.tops[disk], world.SIZE, 30)
            self.machine.use({disk: self.tops[disk]})
            self.write(self.machine, disk, 65536, text)
            self.write(self.machine, disk, 4096 * ord(text), text)

        self.kept = samples.record()

    def note(self, paused):
        self.kept = dataclasses.replace(self.kept, paused=paused)

    def put_on(self, disk):
        """Another overlay, of which nothing is made yet."""
        below = self.tops[disk]
        number = len(model.chain(below))
        path = f'{self.directory}/a/deltas/{disk}.{number}'
        self.tops[disk] = model.overlay(path, below)

    def merge(self):
        here = self.a.hypervisor('host-a')
        guest = here.guest(samples.UUID)
        merge.Merger(
            guest=guest,
            connect=here.connect,
            pauses=pauses.Pauses(guest, lambda: self.kept, self.note),
            settings=self.host_settings('a'),
        ).merge(tuple(map(self._move, self.disks)), '')

    def _move(self, disk):
        *deltas, source = model.chain(self.tops[disk])
        return model.Move(
            disk=disk,
            source=source,
            base=source,
            size_bytes=world.SIZE,
            deltas=tuple(delta.path for delta in reversed(deltas)),
        )

    def failed(self):
        return self.assertRaises(exception.BlockCopyError, self.merge)

    def used(self):
        """What the running guest uses."""
        disks = domxml.disks(self.machine.xml)
        return {
            disk: os.path.relpath(found.source.path, self.directory / 'a')
            for disk, found in disks.items()
            if isinstance(found.source, model.Image)
        }

    def assert_merged(self):
        self.assert_content('a')
        # a second time there is nothing to do
        self.merge()
        self.assert_content('a')

    def test_a_guest_that_runs(self):
        self.merge()
        self.assertEqual({'vda': 'vda', 'vdb': 'vdb'}, self.used())
        self.assertEqual([], self.overlays('a'))
        self.assert_merged()

    def test_one_call_for_each_disk_while_the_guest_is_paused(self):
        calls = self.helper_calls_while_paused(self.machine)
        self.merge()
        # the fake QEMU commits
        self.assertEqual(2 * ['_commit', 'retire'], calls)
        self.assertEqual([], self.overlays('a'))

    def test_apparmor_lets_a_guest_that_runs_write(self):
        self.useFixture(
            fixtures.MockPatchObject(
                apparmor, '_PROFILES', str(self.directory)
            )
        )
        rules = self.directory / f'libvirt-{samples.UUID}.files'
        rules.write_text(
            ''.join(
                f'  deny "{each.path}" w,\n' for each in self.into.values()
            )
        )
        self.machine.on_start = lambda disk: self.assertNotIn(
            self.into[disk].path, rules.read_text()
        )
        self.merge()
        self.assert_merged()

    def test_a_guest_that_is_off(self):
        self.machine.power_off()
        self.merge()
        self.assert_merged()

    def test_what_is_newer_is_not_written_over_when_a_guest_ends(self):
        def on_pivot(disk):
            if disk == 'vdb':
                # vda has been merged, so this is not in any overlay
                self.write(self.machine, 'vda', 65536, 's')
                self.machine.power_off()

        self.machine.on_pivot = on_pivot
        self.merge()
        self.assertIn('ended while its deltas were merged', self.log.output)
        self.assert_merged()

    def test_what_is_newer_is_not_written_over_later_on(self):
        self.machine.lost.add('vdb')
        self.failed()
        self.assertEqual({'vda': 'vda', 'vdb': 'deltas/vdb.1'}, self.used())
        self.write(self.machine, 'vda', 65536, 's')
        self.write(self.machine, 'vdb', 65536, 't')
        self.machine.power_off()
        self.merge()
        self.assert_merged()

    def test_what_is_newer_is_not_written_over_after_a_crash(self):
        # the process ended after a pivot, before it did what comes next
        self.carry(
            self.machine, 'vda', fakes.Job(base=self.into['vda'], commit=True)
        )
        self.machine.use({'vda': self.into['vda']})
        self.write(self.machine, 'vda', 65536, 's')
        self.machine.lost.add('vdb')
        self.failed()
        self.machine.power_off()
        self.merge()
        self.assert_merged()

    @ddt.data('vda', 'vdb')
    def test_a_guest_that_ends_before_any_pivot(self, disk):
        def on_start(target):
            if target == disk:
                self.machine.power_off()

        self.machine.on_start = on_start
        self.merge()
        self.assert_merged()

    @ddt.data(True, False)
    def test_an_overlay_that_was_planned_only(self, off):
        self.put_on('vda')
        self.put_on('vdb')
        if off:
            self.machine.power_off()
        self.merge()
        self.assert_merged()

    @ddt.data(True, False)
    def test_an_overlay_that_was_made_only(self, off):
        self.put_on('vdb')
        deltas.create(self.tops['vdb'], world.SIZE, 30)
        if off:
            self.machine.power_off()
        self.merge()
        self.assert_merged()

    def test_a_removal_that_was_begun(self):
        self.merge()
        self.write(self.machine, 'vda', 65536, 's')
        self.machine.power_off()
        # the lower one is removed first
        upper = self.tops['vda']
        deltas.create(upper, world.SIZE, 30)
        self.merge()
        self.assert_content('a')

    def test_an_overlay_that_is_open_stays(self):
        # libvirt was killed before it took note of the snapshot
        self.machine.use({'vda': self.into['vda']})
        before = self.overlays('a')
        with open(self.tops['vda'].path, 'rb') as f:
            process = subprocess.Popen(('sleep', '60'), stdin=f)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        error = self.failed()
        self.assertIsInstance(error, exception.ImageError)
        self.assertIn(
            f'process {process.pid} (sleep) has this delta open', str(error)
        )
        self.assertEqual(before, self.overlays('a'))
        process.kill()
        process.wait()
        self.machine.power_off()
        self.merge()
        self.assert_merged()

    def test_a_failure_of_a_guest_that_runs_is_none_of_qemu_imgs(self):
        self.machine.lost.add('vda')
        self.assertIsInstance(self.failed(), exception.JobFailed)
        self.assertEqual(3, len(self.overlays('a')))
        self.machine.lost.clear()
        self.merge()
        self.assert_merged()

    def test_an_overlay_that_cannot_be_merged_stays(self):
        os.truncate(self.tops['vdb'].path, 0)
        self.machine.power_off()
        self.assertIsInstance(self.failed(), exception.ImageError)
        self.assertIn('vdb.1', self.overlays('a'))
