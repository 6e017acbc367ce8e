# SPDX-License-Identifier: Apache-2.0
"""The file of settings that libvirt starts QEMU with."""

import re
from collections.abc import Mapping
from typing import cast

from nova_blockcopy.runtime import privsep

PATH = '/etc/libvirt/qemu.conf'
#: A line of the file; see virConfParse in libvirt's src/util/virconf.c.
_SETTING = re.compile(r'(?m)^\s*(\w+)\s*=\s*(?:"([^"\n]*)"|(\d+))')


def look() -> Mapping[str, str] | None:
    """Return the settings of this host; None if the file is not here.

    :raises HelperError: the helper cannot be started
    """
    text = _read()
    return None if text is None else parsed(text)


@privsep.entrypoint
def _read() -> str | None:
    try:
        with open(PATH, encoding='utf-8', errors='replace') as f:
            return f.read()
    except OSError:
        return None


def parsed(text: str) -> Mapping[str, str]:
    """Read the strings and numbers of the file. Pure."""
    found = cast('list[tuple[str, str, str]]', _SETTING.findall(text))
    return {name: string or number for name, string, number in found}
