# SPDX-License-Identifier: Apache-2.0
"""The notes of a destination, from damaged files."""

import os

from hypothesis import given

from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.records import durable
from nova_blockcopy.records import expected
from nova_blockcopy.records import received
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples
from nova_blockcopy.tests.fuzz import values

_GUEST = samples.RECORD.guest
_RECEIVED = received.Received(
    identity=samples.DISK.identity,
    base=samples.LAYERED,
    size_bytes=2**30,
    extents=(
        model.Extent(offset=0, length=2**24),
        model.Extent(offset=2**25, length=512),
    ),
)
_EXPECTED = {'source': 'host-a', 'paths': ['/base', '/other']}


class TestNotes(base.TestCase):
    def path(self, kind):
        folder = self.directory / kind
        folder.mkdir(exist_ok=True)
        return folder / f'{_GUEST}.json'

    @given(values.files({'vda': base.plain(wire.pack(_RECEIVED))}))
    def test_received(self, content):
        self.path('received').write_bytes(content)
        with limits.example('received'):
            book = received.Book(str(self.directory), _GUEST)
            book.of('vda', samples.DISK.identity)
            book.add('vda', [model.Extent(offset=2**26, length=1)])
            before = book.bases()
            book.save()
            again = received.Book(str(self.directory), _GUEST)
            assert again.bases() == before

    @given(values.files(_EXPECTED))
    def test_expected(self, content):
        self.path('expected').write_bytes(content)
        notes = expected.Expected(str(self.directory))
        for call in (notes.bases, notes.find):
            with limits.example('expected'):
                call(_GUEST)

    def test_other_things_than_files(self):
        for kind, make in (
            ('received', os.mkdir),
            ('expected', os.mkfifo),
            ('expected', lambda path: os.symlink('/dev/zero', path)),
            ('received', lambda path: os.truncate(_new(path), 2**40)),
        ):
            path = self.path(kind)
            if os.path.lexists(path):
                path.rmdir() if path.is_dir() else path.unlink()
            make(path)
            with limits.example(kind):
                durable.load(str(path), dict[str, received.Received])


def _new(path):
    path.touch()
    return path
