# SPDX-License-Identifier: Apache-2.0
"""The header of a qcow2 by a real qemu-img, with other bytes in it."""

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from nova_blockcopy.host import header
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits
from nova_blockcopy.tests.fuzz import values

#: Options of the images.
_MADE = (
    (),
    ('-o', 'compat=0.10'),
    ('-o', 'extended_l2=on,cluster_size=128k'),
    ('-o', 'cluster_size=2M'),
    ('-o', 'cluster_size=512'),
    ('-b', '/dev/null', '-F', 'raw', '-u'),
    ('-o', 'data_file={}.data,data_file_raw=on'),
)
_EXPECTED = (
    header.LOCAL,
    header.Expected(size_bytes=2**20, backing=('/dev/null',), plain=True),
    header.Expected(backing=(), backing_format='raw', cluster=65536),
)
#: Bytes of the fields and the extensions.
_FRONT = 300


class TestHeader(base.TestCase):
    def setUp(self):
        super().setUp()
        self.path = self.directory / 'image'
        self.made: list[bytes] = []
        for options in _MADE:
            path = self.directory / f'made-{len(self.made)}'
            subprocess.run(
                [
                    *('qemu-img', 'create', '-q', '-f', 'qcow2'),
                    *(each.format(path) for each in options),
                    *(str(path), '1M'),
                ],
                check=True,
                capture_output=True,
            )
            self.made.append(path.read_bytes()[: 2**16])

    @given(
        st.integers(0, len(_MADE) - 1),
        st.lists(
            st.tuples(
                st.integers(0, _FRONT),
                st.one_of(
                    st.binary(min_size=1, max_size=12),
                    st.sampled_from(
                        [b'\xff' * 4, b'\xff' * 8, b'\0' * 8, b'\0\0\0\x15']
                    ),
                ),
            ),
            max_size=4,
        ),
        st.one_of(st.none(), st.integers(0, 600)),
        st.sampled_from(_EXPECTED),
    )
    def test_fields(self, which, changes, length, expected):
        content = bytearray(self.made[which])
        for at, new in changes:
            content[at : at + len(new)] = new
        self.check(bytes(content[:length]), expected)

    @given(st.binary(max_size=400), st.sampled_from(_EXPECTED))
    def test_bytes(self, content, expected):
        self.check(content, expected)
        self.check(b'QFI\xfb\0\0\0\x03' + content, expected)

    def check(self, content, expected):
        with limits.example('headers', ValueError):
            header.parse(content)
        with limits.example('headers'):
            header.judge('/image', content, expected)
        self.path.write_bytes(content)
        with limits.example('headers'):
            header.require(header.single(str(self.path), expected))

    @given(values.wrong)
    def test_what_is_expected(self, packed):
        with limits.example('headers', ValueError):
            header.require([[str(self.path), packed]])

    def test_what_hypothesis_cannot_show(self):
        for packed in (values.nested(900, 'list'), ['x' * 100_000] * 1000):
            with limits.example('headers', ValueError):
                header.require([[str(self.path), packed]])
