# SPDX-License-Identifier: Apache-2.0
"""Ranges of an image, as the other host may name them."""

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy.migration.destination import claims
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import samples

#: Bytes of the largest disk. Each unit of it takes time and memory.
_LARGEST = 2**41
_numbers = st.one_of(
    st.integers(0, 2**64),
    st.integers(0, 2**26),
    st.builds(lambda n: n * extents.UNIT, st.integers(0, 100)),
)
_ranges = st.lists(
    st.builds(
        lambda offset, length: model.Extent(offset=offset, length=length),
        _numbers,
        _numbers,
    ),
    max_size=20,
)
_lengths = st.one_of(
    st.integers(0, _LARGEST), st.integers(0, 2**26), st.just(_LARGEST)
)


def _check(found, length):
    """Ranges lie in the image, in order, and do not overlap."""
    end = 0
    for each in found:
        assert end <= each.offset
        assert each.length > 0
        end = each.offset + each.length
    assert end <= length


class TestExtents(base.TestCase):
    @given(_lengths, _ranges)
    @example(0, [model.Extent(offset=1, length=0)])
    @example(_LARGEST, [])
    def test_of_an_image(self, length, ranges):
        with limits.example('extents'):
            _check(extents.covered(length, ranges), length)
            rest = extents.outside(length, ranges)
            _check(rest, length)
            inside = extents.outside(length, rest)
            assert extents.total(inside) + extents.total(rest) == length
            found = extents.sample(length)
            _check(found, length)
            assert len(found) <= 16

    @given(_ranges, st.integers(0, 2**64))
    def test_pieces(self, ranges, rate):
        with limits.example('extents'):
            joined = extents.joined(ranges)
            assert extents.joined(joined) == joined
            for extent in joined[:5]:
                piece, rest = extents.cut(extent, extents.piece_size(rate))
                assert piece.length <= extents.PIECE
                left = rest.length if rest else 0
                assert piece.length + left == extent.length

    @given(_ranges, _numbers, st.booleans())
    def test_claims(self, ranges, size, delta):
        record = samples.RECORD
        settings = self.settings(export_address='192.0.2.2')
        seed = model.Seed(
            disk='vda',
            source=samples.LAYERED,
            target=samples.LAYERED,
            export=samples.SEED.export,
            extents=tuple(ranges),
            size_bytes=size,
            delta=delta,
        )
        with limits.example('extents'):
            found = claims.accepted(seed, record, settings)
            assert found == samples.MOVE
            assert all(r.offset + r.length <= size for r in ranges)
        with limits.example('extents'):
            try:
                claims.check_parts(tuple(ranges))
            except exception.PeerError:
                return
            assert all(r.length <= extents.UNIT for r in ranges)
