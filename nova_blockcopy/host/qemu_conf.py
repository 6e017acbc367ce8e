# SPDX-License-Identifier: Apache-2.0
"""The file of settings that libvirt starts QEMU with."""

import re
from collections.abc import Mapping
from typing import cast

from nova_blockcopy import exception
from nova_blockcopy.runtime import privsep

PATH = '/etc/libvirt/qemu.conf'
_NO_LOCKS = 'nop'
#: A line of the file; see virConfParse in libvirt's src/util/virconf.c.
_SETTING = re.compile(r'(?m)^\s*(\w+)\s*=\s*(?:"([^"\n]*)"|(\d+))')


def look() -> Mapping[str, str] | None:
    """Return the settings of this host; None if the file is not here.

    :raises HelperError: the helper cannot be started
    """
    text = _read()
    return None if text is None else parsed(text)


def lock_manager(settings: Mapping[str, str]) -> str:
    """Return the name of the lock manager; '' for none. Pure."""
    name = settings.get('lock_manager', '')
    return '' if name == _NO_LOCKS else name


def check_lock_manager(host: str) -> None:
    """Pass if libvirt uses no lock manager, as far as this host can tell.

    libvirt 9.0.0 with lockd refuses to resume a guest after its pivot. Runs on
    the destination.

    :param host: this host's name, for the message
    :raises LockManagerUsed: libvirt uses one
    :raises HelperError: the helper cannot be started
    """
    name = lock_manager(look() or {})
    if name:
        raise exception.LockManagerUsed(host=host, name=name, path=PATH)


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
