# SPDX-License-Identifier: Apache-2.0
"""What bases have received: a hint that is kept, or of no use."""

import pathlib

import ddt

from nova_blockcopy import model
from nova_blockcopy.model import Extent
from nova_blockcopy.records import received
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples


def identity(inode=7):
    return model.ImageIdentity(boot='b', device=1, inode=inode)


def made(*extents):
    """What is known of a base."""
    return received.Received(
        identity=identity(),
        base=samples.layered('/top', '/below'),
        size_bytes=1024,
        extents=extents,
    )


@ddt.ddt
class TestBook(base.TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(
            self.directory, 'received', f'{samples.UUID}.json'
        )

    def book(self):
        return received.Book(str(self.directory), samples.UUID)

    def filled(self):
        book = self.book()
        book.begin('vda', made())
        book.add('vda', [Extent(offset=0, length=5)])
        book.add('vda', [Extent(offset=5, length=5)])
        return book

    def test_what_was_saved_is_found(self):
        self.filled().save()
        self.assertEqual(
            made(Extent(offset=0, length=10)),
            self.book().of('vda', identity()),
        )
        self.assertIsNone(self.book().of('vdb', identity()))

    def test_of_another_image_nothing_is_known(self):
        self.assertIsNone(self.filled().of('vda', identity(8)))

    def test_begun_anew_is_forgotten_at_once(self):
        book = self.filled()
        book.save()
        book.begin('vda', made())
        self.assertEqual(made(), self.book().of('vda', identity()))

    def test_what_arrives_is_not_written_each_time(self):
        self.filled()
        self.assertEqual(made(), self.book().of('vda', identity()))

    def test_but_now_and_then(self):
        book = self.book()
        book.begin('vda', made())
        book._written_at -= 10
        book.add('vda', [Extent(offset=0, length=5)])
        self.assertEqual(
            made(Extent(offset=0, length=5)), self.book().of('vda', identity())
        )

    def test_of_a_base_that_was_never_begun_nothing_is_kept(self):
        book = self.book()
        book.add('vda', [Extent(offset=0, length=5)])
        book.save()
        self.assertIsNone(self.book().of('vda', identity()))

    def test_what_came_before_it_was_begun_anew_is_forgotten(self):
        book = self.filled()
        book.begin('vda', made())
        book.add('vda', [Extent(offset=20, length=5)])
        self.assertEqual(
            made(Extent(offset=20, length=5)), book.of('vda', identity())
        )

    def test_closed_is_forgotten(self):
        book = self.filled()
        book.save()
        for _time in range(2):
            book.close()
            self.assertIsNone(book.of('vda', identity()))
            self.assertFalse(self.path.exists())

    @ddt.data('', 'null', '[]', '7', '{"vda": {}}', '\\xff{')
    def test_a_file_that_is_not_understood(self, text):
        self.filled().save()
        self.path.write_text(text)
        self.assertIsNone(self.book().of('vda', identity()))

    def test_a_file_that_cannot_be_read(self):
        self.path.mkdir(parents=True)
        self.assertIsNone(self.book().of('vda', identity()))
        self.assertIn('All data is seeded again', self.log.output)

    def test_a_file_that_cannot_be_written(self):
        (self.directory / 'received').write_text('in the way')
        book = self.filled()
        book.save()
        self.assertIn('cannot be written', self.log.output)
        self.assertEqual(
            made(Extent(offset=0, length=10)), book.of('vda', identity())
        )
