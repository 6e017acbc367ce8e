# SPDX-License-Identifier: Apache-2.0
"""What is prepared on a destination, taken in by bases, and cleared away."""

import dataclasses
import os
import threading

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.host import checksums
from nova_blockcopy.host import deltas
from nova_blockcopy.host import images
from nova_blockcopy.host import space
from nova_blockcopy.migration.destination import base_set
from nova_blockcopy.model import Extent
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world

EXTENT = Extent(offset=0, length=world.SIZE)


class BaseSetTestCase(world.WorldTestCase):
    disks = ('vda',)

    def setUp(self):
        super().setUp()
        self.bases = self.make()
        self.base = samples.image(self.path('b', 'vda'), samples.FILE)
        self.move = dataclasses.replace(
            samples.move('vda', base=self.base),
            size_bytes=world.SIZE,
        )
        self.cancelled = threading.Event()
        self.bases.check('host-b')

    def make(self):
        return base_set.BaseSet(self.host_settings('b'), samples.UUID, 'm1')

    def seed(self, **changes):
        values = {
            'disk': 'vda',
            'source': samples.image(self.path('a', 'vda'), samples.FILE),
            'target': self.base,
            'export': samples.export(),
            'extents': (EXTENT,),
            'size_bytes': world.SIZE,
            **changes,
        }
        seed = model.Seed(**values)
        self.exporter.served[seed.export.name] = seed.source
        return seed

    def record(self, base=None):
        """The journal of a migration into one base."""
        move = dataclasses.replace(self.move, base=base or self.base)
        return samples.record(role=model.Role.DESTINATION, moves=(move,))

    def landed(self, seed, base=None):
        return self.bases.landed(self.record(base or seed.target), seed)

    def fill(self, *seeds, bases=None):
        (bases or self.bases).fill(
            self.record(seeds[0].target),
            seeds,
            0,
            self.cancelled,
            lambda _state, _disks: None,
        )

    def received(self, bases=None):
        return (bases or self.make()).received((self.move,))['vda']


class TestLanding(BaseSetTestCase):
    """Where this host puts a delta that goes into its base."""

    def setUp(self):
        super().setUp()
        below = samples.image(self.path('b', 'vda'), samples.FILE)
        self.layered = model.overlay(self.path('b', 'top'), below)

    def test_a_file_of_this_migration_on_top_of_the_base(self):
        seed = self.seed(target=self.layered, delta=True)
        landed = self.landed(seed)
        path = str(self.directory / 'b' / 'deltas' / 'm1-vda.seed')
        self.assertEqual(model.overlay(path, self.layered), landed.target)
        self.assertEqual(
            seed, dataclasses.replace(landed, target=self.layered)
        )

    def test_what_is_no_delta_goes_to_the_base_itself(self):
        seed = self.seed(target=self.layered)
        self.assertEqual(seed, self.landed(seed))

    def test_a_delta_leaves_the_base_as_it_is_until_it_is_taken_in(self):
        before = (self.directory / 'b' / 'vda').read_bytes()
        seed = self.seed(delta=True)
        self.fill(seed)
        self.assertEqual(['m1-vda.seed'], self.overlays('b'))
        self.assertEqual(before, (self.directory / 'b' / 'vda').read_bytes())
        with open(self.landed(seed).target.path, 'rb') as f:
            self.assertEqual(
                (self.directory / 'a' / 'vda').read_bytes(), f.read()
            )

    def test_one_that_was_not_taken_in_is_removed(self):
        self.fill(self.seed(delta=True))
        for _time in range(2):
            self.bases.clear((self.move,))
            self.assertEqual([], self.overlays('b'))
        self.assertTrue((self.directory / 'b' / 'vda').exists())

    def test_its_room_is_reserved_before_it_arrives(self):
        occupied = []

        def on_piece(seed, _piece):
            occupied.append(deltas.allocated(seed.target.path))

        self.on_piece = on_piece
        self.fill(self.seed(delta=True))
        self.assertEqual([world.SIZE], occupied)

    def test_no_room_for_it_and_its_merge(self):
        self.bases.clear((self.move,))
        journal.Journal(str(self.directory / 'b' / 'journal')).open(
            self.record()
        )
        free = [0]
        real = space._system

        def system(directory):
            return dataclasses.replace(real(directory), free=free[0])

        self.useFixture(
            fixtures.MonkeyPatch(f'{space.__name__}._system', system)
        )
        # the delta, the holes of the base that it fills, and delta_min_free
        free[0] = 3 * world.SIZE - 1
        error = self.assertRaises(
            exception.NoRoom, self.fill, self.seed(delta=True)
        )
        self.assertIn('3 MiB are needed', str(error))
        self.assertEqual([], self.overlays('b'))
        free[0] += 1
        self.fill(self.seed(delta=True))
        self.assertEqual(['m1-vda.seed'], self.overlays('b'))

    def test_those_of_others_stay(self):
        other = self.directory / 'b' / 'deltas' / 'm2-vda.seed'
        other.touch()
        self.bases.clear((self.move,))
        self.assertEqual([other.name], self.overlays('b'))

    def test_no_room(self):
        self.options = {'delta_min_free': 2**40}
        error = self.assertRaises(
            exception.NoRoom, self.make().check, 'host-b'
        )
        self.assertIn('delta_min_free', str(error))


class TestReceived(BaseSetTestCase):
    def test_what_came_is_told_of(self):
        self.assertEqual((), self.received())
        self.fill(self.seed())
        self.assertEqual((EXTENT,), self.received())

    def test_its_checksums_are_those_of_its_source(self):
        seed = self.seed()
        self.fill(seed)
        for by_content in (False, True):
            one, other = (
                checksums.of(
                    image,
                    (EXTENT,),
                    self.cancelled,
                    by_content=by_content,
                    timeout=30,
                )
                for image in (seed.source, seed.target)
            )
            self.assertEqual(one, other)

    def test_certificates_that_are_missing(self):
        empty = str(self.directory)
        self.options = {'export_tls': True, 'export_tls_dir': empty}
        error = self.assertRaises(
            exception.CertificateError, self.make().check, 'host-b'
        )
        self.assertIn(empty, str(error))

    def test_what_came_before_it_broke_is_kept(self):
        size = 2 * extents.PIECE
        for host in 'ab':
            self.make_image(host, 'vda', size)

        def on_piece(_seed, piece):
            if piece.offset:
                self.cancelled.set()
                raise SystemError

        self.on_piece = on_piece
        self.options = {'seed_workers': 1}
        # over what was there: nothing of it is known to be zeroes
        self.bases = self.make()
        self.move = dataclasses.replace(self.move, size_bytes=size)
        self.assertRaises(
            exception.BlockCopyError,
            self.fill,
            self.seed(
                size_bytes=size, extents=(Extent(offset=0, length=size),)
            ),
        )
        self.cancelled.clear()
        self.assertEqual(
            (Extent(offset=0, length=extents.PIECE),), self.received()
        )

    def test_what_travels_by_content_is_told_of_as_well(self):
        self.fill(self.seed(export=samples.content()))
        self.assertEqual((EXTENT,), self.received())

    def test_a_base_that_is_filled_anew_has_nothing_before(self):
        self.fill(self.seed())
        self.on_piece = self.broken
        self.assertRaises(exception.SeedFailed, self.fill, self.seed())
        self.assertEqual((), self.received())

    def broken(self, _seed, _piece):
        raise SystemError('it broke')

    def test_forgotten(self):
        self.fill(self.seed())
        self.bases.forget()
        self.assertEqual((), self.received())

    def test_a_base_that_is_gone(self):
        (self.directory / 'b' / 'vda').unlink()
        self.assertRaises(exception.ImageError, self.received)

    def test_a_limit_is_for_what_is_being_copied(self):
        self.bases.set_limit(5)
        seen = []

        def on_piece(_seed, _piece):
            self.bases.set_limit(4096)
            seen.append(self.bases._seeder._limit)

        self.on_piece = on_piece
        self.fill(self.seed())
        self.assertEqual([4096], seen)


class TestDescribe(BaseSetTestCase):
    """A qcow2 on top of another image is the base."""

    def setUp(self):
        super().setUp()
        self.top = self.path('b', 'top')
        self.image = model.overlay(self.top, self.base)
        deltas.create(self.image, 2 * world.SIZE, 30)

    def describe(self, path=None, format_=samples.QCOW2, by_book=True):
        return self.make().describe(
            'vda', path or self.top, format_, by_book=by_book
        )

    def begin(self):
        """Fill it, and fail at once."""

        def on_piece(_seed, _piece):
            raise SystemError('it broke')

        self.on_piece = on_piece
        seed = self.seed(target=self.image)
        self.assertRaises(exception.SeedFailed, self.fill, seed)
        with open(self.top, 'rb') as f:
            self.assertEqual(bytes(512), f.read(512))

    def test_by_its_header(self):
        self.assertEqual((self.image, 2 * world.SIZE), self.describe())

    def test_by_the_book_while_its_header_is_not_there(self):
        self.begin()
        self.assertEqual((self.image, world.SIZE), self.describe())

    def test_not_by_the_book_where_its_header_is_needed(self):
        self.begin()
        self.assertRaises(exception.ImageError, self.describe, by_book=False)

    def test_by_the_book_while_its_header_is_of_the_source(self):
        self.begin()
        (self.directory / 'b' / 'top').write_bytes(b'')
        elsewhere = samples.image('/elsewhere', samples.FILE)
        deltas.create(model.overlay(self.top, elsewhere), world.SIZE, 30)
        self.assertEqual((self.image, world.SIZE), self.describe())

    def test_in_another_format_it_is_another_one(self):
        self.begin()
        image, size = self.describe(format_=samples.RAW)
        self.assertEqual(
            samples.image(self.top, samples.FILE, samples.RAW), image
        )
        self.assertEqual(world.SIZE, size)

    def test_by_another_name_it_is_another_one(self):
        self.begin()
        other = self.path('b', 'other')
        (self.directory / 'b' / 'other').hardlink_to(self.top)
        self.assertRaises(exception.ImageError, self.describe, other)

    def test_another_image_of_that_name(self):
        self.begin()
        (self.directory / 'b' / 'top').rename(self.path('b', 'old'))
        deltas.create(self.image, 3 * world.SIZE, 30)
        self.assertEqual((self.image, 3 * world.SIZE), self.describe())

    def test_one_that_is_gone(self):
        (self.directory / 'b' / 'top').unlink()
        self.assertRaises(exception.ImageError, self.describe)


class ApplyTestCase(BaseSetTestCase):
    def setUp(self):
        super().setUp()
        self.elsewhere = samples.image(self.path('a', 'vda'), samples.FILE)

    def qcow2(self, path, below):
        image = model.overlay(path, below)
        deltas.create(image, world.SIZE, 30)
        return image

    def delta(self, **changes):
        """The seed of a delta, which lies on something on the source."""
        source = model.overlay(self.path('a', 'delta'), self.elsewhere)
        return self.seed(source=source, delta=True, **changes)

    def came(self, seed):
        """The file of a delta, as the source made it."""
        path = self.landed(seed).target.path
        self.qcow2(path, self.elsewhere)
        return path

    def apply(self, seed):
        self.bases.apply(self.record(seed.target), (seed,))


class TestApply(ApplyTestCase):
    def test_a_raw_base_is_as_it_is(self):
        before = (self.directory / 'b' / 'vda').read_bytes()
        self.apply(self.seed())
        self.assertEqual(before, (self.directory / 'b' / 'vda').read_bytes())

    def test_a_base_names_what_lies_below_it_here(self):
        path = str(self.directory / 'b' / 'top')
        self.qcow2(path, self.elsewhere)
        target = model.overlay(path, self.base)
        for _time in range(2):
            self.apply(self.seed(target=target))
            self.assertEqual(target, images.describe(path, samples.QCOW2))

    def test_a_delta_goes_into_its_base(self):
        seed = self.delta()
        path = self.came(seed)
        world.qemu('qemu-io', '-f', 'qcow2', '-c', 'write -z 0 4k', path)
        world.qemu('qemu-io', '-f', 'qcow2', '-c', 'write -P 122 8k 4k', path)
        for _time in range(2):
            self.apply(seed)
            self.assertEqual([], self.overlays('b'))
        self.assertEqual(
            bytes(8192) + b'z' * 4096 + bytes(4096),
            (self.directory / 'b' / 'vda').read_bytes()[:16384],
        )


@ddt.ddt
class TestHostile(ApplyTestCase):
    """The source, or whoever sits between, sends what it likes."""

    def setUp(self):
        super().setUp()
        self.victim = self.directory / 'b' / 'victim'
        self.victim.write_bytes(b'v' * world.SIZE)
        self.before = (self.directory / 'b' / 'vda').read_bytes()

    def evil(self, *options):
        """Make a qcow2 that keeps its data in a file of the destination."""
        image = samples.image(
            self.path('a', 'evil'), samples.FILE, samples.QCOW2
        )
        wanted = ','.join((f'data_file={self.victim}', *options))
        world.qemu(
            *('qemu-img', 'create', '-f', 'qcow2', '-o', wanted),
            *(image.path, str(world.SIZE)),
        )
        whole = f'write 0 {world.SIZE}'
        world.qemu('qemu-io', '-f', 'qcow2', '-c', whole, image.path)
        self.victim.write_bytes(b'v' * world.SIZE)
        return image

    def bring(self, image, **changes):
        """Carry the bytes of an image over, as a seed does."""
        size = os.path.getsize(image.path)
        seed = self.seed(
            source=image,
            extents=(Extent(offset=0, length=size),),
            size_bytes=size,
            **changes,
        )
        self.fill(seed)
        return seed

    def stopped(self, call, *arguments):
        error = self.assertRaises(exception.HeaderError, call, *arguments)
        self.assertEqual(b'v' * world.SIZE, self.victim.read_bytes())
        return str(error)

    @ddt.data(
        ('cluster_size=4096', 'data_file_raw=on'),
        ('cluster_size=4096', 'data_file_raw=off'),
        ('cluster_size=65536', 'data_file_raw=on'),
    )
    def test_a_delta_that_keeps_its_data_in_another_file(self, options):
        """Root merged the other file into the disk of the guest."""
        seed = self.bring(self.evil(*options), delta=True)
        said = self.stopped(self.apply, seed)
        self.assertIn('external data file', said)
        self.assertIn(self.landed(seed).target.path, said)
        self.assertEqual(
            self.before, (self.directory / 'b' / 'vda').read_bytes()
        )

    @ddt.data(True, False)
    def test_a_base_that_keeps_its_data_in_another_file(self, layered):
        top = self.path('b', 'top')
        base = self.qcow2(top, self.base)
        if not layered:
            base = dataclasses.replace(base, backing=None)
        seed = self.bring(self.evil(), target=base)
        self.assertIn('external data file', self.stopped(self.apply, seed))
        # nor does anything else read or write the other file
        part = (Extent(offset=0, length=4096),)
        for call, *arguments in (
            (images.describe, top, samples.QCOW2),
            (images.size, base),
            (self.checksums, base, part),
        ):
            self.stopped(call, *arguments)

    def checksums(self, image, parts):
        return checksums.of(
            image, parts, self.cancelled, by_content=True, timeout=30
        )

    def test_a_base_that_names_a_file_below(self):
        """A guest would read that file."""
        base = self.qcow2(self.path('b', 'top'), self.base)
        base = dataclasses.replace(base, backing=None)
        sent = self.qcow2(
            self.path('a', 'top'), samples.image(str(self.victim))
        )
        seed = self.bring(sent, target=base)
        said = self.stopped(self.apply, seed)
        self.assertIn(f"'{self.victim}' instead of none", said)
        self.assertIn(
            'instead of none',
            self.stopped(
                self.checksums, base, (Extent(offset=0, length=4096),)
            ),
        )

    def test_a_delta_of_another_size(self):
        path = self.landed(self.delta()).target.path
        deltas.create(model.overlay(path, self.elsewhere), 2 * world.SIZE, 30)
        said = self.stopped(self.apply, self.delta())
        self.assertIn('virtual size', said)

    def test_a_delta_on_something_that_nobody_told_of(self):
        path = self.landed(self.delta()).target.path
        self.qcow2(path, samples.image('/etc/shadow', samples.FILE))
        said = self.stopped(self.apply, self.delta())
        self.assertIn('/etc/shadow', said)

    def test_a_delta_that_others_can_write_to(self):
        seed = self.delta()
        os.chmod(self.came(seed), 0o606)
        self.assertIn('others could', self.stopped(self.apply, seed))

    def test_a_delta_by_its_content(self):
        """QEMU would write through a header that arrived before."""
        seed = self.bring(self.evil(), delta=True)
        seed = dataclasses.replace(seed, export=samples.content())
        error = self.assertRaises(exception.PeerError, self.fill, seed)
        self.assertIn('by its content', str(error))
        self.assertEqual(b'v' * world.SIZE, self.victim.read_bytes())
