# SPDX-License-Identifier: Apache-2.0
"""The host as libvirt describes it: security drivers, and QEMU's user."""

import dataclasses
import os
import pwd

import libvirt
from lxml import etree

from nova_blockcopy.host import hypervisor

_DAC = 'dac'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """A part of the capabilities of libvirt.

    ``models`` are the security models. ``uid`` and ``gids`` are those that
    QEMU runs with; None if libvirt does not tell.
    """

    models: tuple[str, ...]
    uid: int | None = None
    gids: tuple[int, ...] = ()


def look(uri: str) -> Capabilities:
    """Ask libvirt.

    :raises libvirtError: libvirt does not answer
    """
    connector = hypervisor.Connector(uri)
    connection: libvirt.virConnect = connector()
    try:
        return parsed(connection.getCapabilities())
    finally:
        connector.close()


def parsed(xml: str) -> Capabilities:
    """Read the capabilities (virCapabilitiesFormatXML in libvirt)."""
    models = etree.fromstring(xml).findall('host/secmodel')
    names = tuple(each.findtext('model', '') for each in models)
    label = next(
        (
            each.findtext('baselabel', '')
            for each in models
            if each.findtext('model') == _DAC
        ),
        '',
    )
    numbers = [part.lstrip('+') for part in label.split(':')]
    if len(numbers) != 2 or not all(part.isdigit() for part in numbers):
        return Capabilities(models=names)
    uid, gid = map(int, numbers)
    return Capabilities(models=names, uid=uid, gids=_groups(uid, gid))


def _groups(uid: int, gid: int) -> tuple[int, ...]:
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:  # as in a container
        return (gid,)
