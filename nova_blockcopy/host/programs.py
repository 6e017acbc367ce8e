# SPDX-License-Identifier: Apache-2.0
"""The programs that the helper finds on this host."""

import shutil
from collections.abc import Mapping

from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.runtime import privsep

#: The programs that the engine starts through the helper.
NAMES = ('qemu-img', 'qemu-nbd', 'setpriv', 'fallocate', 'openssl')
_TIMEOUT = 10


@privsep.entrypoint
def versions() -> Mapping[str, str | None]:
    """Return the first line that each program prints about its version.

    The caller cannot name the programs, because the helper starts them.

    :returns: by the name of the program; None if the program is not there
    :raises HelperError: the helper cannot be started
    """
    return {name: _version(name) for name in NAMES}


def _version(name: str) -> str | None:
    if shutil.which(name) is None:
        return None
    try:
        printed = command.run(
            name, '--version', confined=confinement.KEPT, timeout=_TIMEOUT
        )
    except command.CommandFailed:
        return ''
    return printed.split('\n')[0]
