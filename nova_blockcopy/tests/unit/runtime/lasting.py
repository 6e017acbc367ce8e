# SPDX-License-Identifier: Apache-2.0
"""A call of the helper that lasts until a test ends it."""

from nova_blockcopy.runtime import privsep


@privsep.lasting
def read(pipe: str) -> bytes:
    """Wait for the writer of a FIFO."""
    with open(pipe, 'rb') as f:
        return f.read()
