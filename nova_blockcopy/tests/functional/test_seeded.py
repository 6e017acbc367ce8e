# SPDX-License-Identifier: Apache-2.0
"""What seeded mode adds: rounds, a second attempt, and proof."""

import signal
import time

import libvirt
import psutil

from nova_blockcopy import exception
from nova_blockcopy import forecast
from nova_blockcopy import states
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base

_IO_ERROR = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
SEEDING = states.State.SEEDING


class SeededTestCase(base.TestCase):
    def set_scene(self, *kinds, **options):
        return super().set_scene(*kinds, mode='seeded', **options)


class TestRounds(SeededTestCase):
    """The guest writes a region again and again, faster than the link."""

    def _busy(self, **options):
        return self.set_scene(
            *('block', 'layered'),
            load=64 * base.MIB,
            block_migration_bandwidth=8,
            max_remote_window=0.5,
            seed_rounds=3,
            **options,
        )

    def test_it_goes_on_all_the_same(self):
        made = self._busy()
        forecasts: dict[states.State, forecast.Forecast | None] = {}

        def listen(now):
            forecasts[now.state] = moving.progress.forecast

        moving = made.migration(listen)
        record = made.run(moving)
        rounds = [e for e in record.history if 'round' in e.note]
        self.assertTrue(1 < len(rounds) <= 3, rounds)
        self.assertIn('too fast', rounds[-1].note)
        # said before the guest depends on two hosts
        said = forecasts[states.State.EXPORTING]
        assert said is not None
        self.assertGreater(said.window_s or 0, 0.5)
        self.assert_intact(made, self.lab.b)

    def test_limits_slow_it_down_until_the_pivot(self):
        """It has its own ones again afterwards."""
        made = self._busy()
        own = {'vda': 0, 'vdb': 512 * base.MIB}
        self._domain(self.lab.a, made).setBlockIoTune(
            *('vdb', {'write_bytes_sec': own['vdb']}),
            libvirt.VIR_DOMAIN_AFFECT_LIVE,
        )
        seen: dict[str, set[int]] = {'vda': set(), 'vdb': set()}

        def listen(now):
            if now.state is states.State.COPYING and now.disks:
                for target, limits in seen.items():
                    limits.add(self._limit(self.lab.b, made, target))

        made.run(made.migration(listen))
        for target, limits in seen.items():
            slowed = limits - {own[target]}
            # 8 MiB/s carry at least twice what the guest may write
            self.assertTrue(slowed and max(slowed) < 8 * base.MIB, seen)
            self.assertEqual(
                own[target], self._limit(self.lab.b, made, target)
            )
        self.assert_intact(made, self.lab.b)

    def _domain(self, at, made):
        connection = at.connect()
        self.addCleanup(connection.close)
        return connection.lookupByUUIDString(made.guest.uuid)

    def _limit(self, at, made, target):
        found = self._domain(at, made).blockIoTune(
            target, libvirt.VIR_DOMAIN_AFFECT_LIVE
        )
        return found['write_bytes_sec']

    def test_it_is_taken_back(self):
        made = self._busy(seed_shortfall_action='abort')
        undone = self.assertRaises(
            exception.MigrationUndone, made.run, made.migration()
        )
        self.assertIsInstance(undone.__cause__, exception.SeedFailed)
        self.assertIn('max_remote_window', str(undone))
        self.assert_intact(made, self.lab.a)

    def test_one_round_is_enough_for_a_quiet_guest(self):
        made = self.set_scene('block', interval=0.1, max_remote_window=2)
        record = made.run(made.migration())
        rounds = [e for e in record.history if 'round' in e.note]
        self.assertEqual(1, len(rounds))
        self.assertIn('switch over', rounds[0].note)
        self.assert_intact(made, self.lab.b)


class TestAgain(SeededTestCase):
    """A second attempt goes on with what is there."""

    def _interrupted(self, *kinds, **options):
        made = self.set_scene(
            *kinds,
            **options,
            size=512 * base.MIB,
            data=480 * base.MIB,
            region=base.MIB,
            interval=0.1,
            block_migration_bandwidth=96,
        )

        def listen(now):
            if now.state is SEEDING and (
                now.processed_bytes >= now.total_bytes / 2 > 0
            ):
                moving.abort()

        moving = made.migration(listen)
        self.assertRaises(exception.MigrationUndone, made.run, moving)
        for target in made.guest.targets:
            made.guest.log.wait_for_more(target, 5)
        return made

    def _again(self, made):
        """The share of the disk that travels now."""
        travelled = [0]

        def listen(now):
            if now.state is SEEDING:
                travelled[0] = max(travelled[0], now.total_bytes)

        made.run(made.migration(listen))
        self.assert_intact(made, self.lab.b)
        size = sum(disk.size_bytes for disk in made.sources.values())
        return travelled[0] / size

    def test_half_of_it_need_not_travel_again(self):
        for kind in ('block', 'raw'):
            made = self._interrupted(kind)
            self.assertLess(self._again(made), 0.55)
            self.hosts._empty()

    def test_what_travels_by_content_goes_on_as_well(self):
        for kind in ('qcow2', 'block'):
            made = self._interrupted('layered', base_kinds=(kind,))
            self.assertLess(self._again(made), 0.55)
            self.hosts._empty()

    def test_a_base_that_was_altered_is_noticed(self):
        made = self._interrupted('raw')
        with made.bases['vda'].file.open('r+b') as f:
            f.seek(20 * base.MIB)
            f.write(b'altered')
        self.assertLess(self._again(made), 0.6)

    def test_a_base_that_was_made_anew_is_filled_anew(self):
        made = self._interrupted('raw')
        file = made.bases['vda'].file
        file.rename(file.with_suffix('.old'))
        with file.open('wb') as f:
            f.truncate(made.bases['vda'].size_bytes)
        self.assertGreater(self._again(made), 0.9)


class TestVerify(SeededTestCase):
    def _damaged(self, *kinds, damage, **options):
        made = self.set_scene(
            *kinds, size=128 * base.MIB, data=64 * base.MIB, **options
        )

        def listen(now):
            if now.state is SEEDING and (
                now.processed_bytes == now.total_bytes > 0
            ):
                damage(made.bases['vda'])

        return made, made.migration(listen)

    def _refused(self, made, moving):
        undone = self.assertRaises(exception.MigrationUndone, made.run, moving)
        self.assertIsInstance(undone.__cause__, exception.VerifyFailed)
        self.assertIn(f'at offset {96 * base.MIB}', str(undone))
        self.assert_intact(made, self.lab.a)
        made.guest.end()
        self.hosts._empty()

    def test_damage_is_noticed_before_the_switchover(self):
        def damage(disk):
            with disk.file.open('r+b') as f:
                f.seek(100 * base.MIB)
                f.write(b'damaged')

        for tls, verify in (
            (True, 'full'),
            (True, 'sample'),  # of a disk that small, all
            (False, 'none'),  # in clear text, all of any disk
        ):
            self._refused(
                *self._damaged(
                    'block', damage=damage, export_tls=tls, verify=verify
                )
            )

    def test_it_is_noticed_in_what_travels_by_content(self):
        def damage(disk):
            self.lab.b.run(
                *('qemu-io', '-f', 'qcow2', '-c'),
                *(f'write -P 7 {100 * base.MIB} 4096', disk.path),
            )

        self._refused(
            *self._damaged(
                'layered',
                base_kinds=('qcow2',),
                damage=damage,
                verify='full',
            )
        )


class TestBandwidth(SeededTestCase):
    def test_the_limit_is_for_all_disks_together(self):
        made = self.set_scene(
            *('block', 'raw'),
            size=160 * base.MIB,
            data=128 * base.MIB,
            interval=0.1,
            region=base.MIB,
            block_migration_bandwidth=16,
            export_tls=True,  # without it, all is compared
            verify='none',
        )
        times: dict[states.State, float] = {}

        def listen(now):
            times[now.state] = time.monotonic()

        made.run(made.migration(listen))
        # A busy machine makes seeding slower. Only a limit that does not hold
        # makes it faster.
        took_s = times[states.State.EXPORTING] - times[states.State.FREEZING]
        self.assertGreater(took_s, 2 * 128 / 16 * 0.85)
        self.assert_intact(made, self.lab.b)


class TestExporterDies(SeededTestCase):
    def test_while_seeding(self):
        made = self.set_scene(
            'raw', data=48 * base.MIB, block_migration_bandwidth=16
        )
        killed: list[psutil.Process] = []

        def kill(now):
            if now.state is SEEDING and now.processed_bytes and not killed:
                killed.extend(
                    p for p in self.lab.a.processes() if p.name() == 'qemu-nbd'
                )
                for process in killed:
                    process.send_signal(signal.SIGKILL)

        made.run(made.migration(kill))
        self.assertEqual(1, len(killed))
        self.assert_intact(made, self.lab.b)


class TestDeltaIsFull(SeededTestCase):
    """The guest cannot write any more, and is paused by that."""

    def _paused_in(self, state):
        """Migrate a guest that is paused in a state.

        That is when it is too late for another check of the room.
        """
        self._mount(128 * base.MIB)
        made = self.set_scene(
            *('block', 'layered'), load=4 * base.MIB, delta_min_free=16
        )
        paused: list[int] = []

        def listen(now):
            if now.state is state and not paused:
                self._fill()
                domain = self.lab.a.connect().lookupByName(made.guest.name)
                waiting.until(lambda: domain.state() == _IO_ERROR, timeout=60)
                paused.extend(domain.state())

        return made, made.migration(listen), paused

    def test_before_the_switchover(self):
        made, moving, paused = self._paused_in(states.State.EXPORTING)
        at = self.lab.b
        try:
            made.run(moving)
        except exception.MigrationUndone:
            at = self.lab.a
        self.assertEqual(_IO_ERROR, paused)
        self.assert_intact(made, at)

    def _mount(self, size):
        here, deltas = self.lab.a, self.lab.a.home / 'deltas'
        image = f'{here.images}/deltas'
        here.run('truncate', '-s', str(size), image)
        here.run('mkfs.ext4', '-q', '-m', '0', image)
        here.run('mkdir', '-p', str(deltas))
        here.run('mount', '-o', 'loop', image, str(deltas))
        here.run('rmdir', f'{deltas}/lost+found')
        self.addCleanup(here.run, 'umount', '--lazy', str(deltas))

    def _fill(self):
        """All but the last block: dd ends with an error by that."""
        filler = f'of={self.lab.a.home}/deltas/filler'
        self.lab.a.run('dd', 'if=/dev/zero', filler, 'bs=4096', check=False)
