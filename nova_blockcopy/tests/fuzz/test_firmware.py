# SPDX-License-Identifier: Apache-2.0
"""The state of a guest's firmware, as the other host packs it."""

import base64
import zlib

from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from nova_blockcopy.host import firmware
from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


#: A thousand times smaller than what it unpacks to.
_BOMB = packed(zlib.compress(bytes(2**30)))
_files = st.one_of(
    st.text(max_size=50),
    st.builds(packed, st.binary(max_size=50)),
    st.builds(
        lambda content, end: packed(zlib.compress(content)[:end]),
        st.binary(max_size=100),
        st.one_of(st.none(), st.integers(0, 100)),
    ),
    st.just(_BOMB),
)


class TestFirmware(base.TestCase):
    @given(st.dictionaries(st.text(max_size=10), _files, max_size=20))
    @example(dict.fromkeys('abcdefghij', packed(zlib.compress(bytes(2**23)))))
    def test_unpack(self, files):
        with limits.example('firmware', ValueError):
            found = firmware.unpack(files)
            assert set(found) == set(files)
