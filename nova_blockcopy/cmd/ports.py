# SPDX-License-Identifier: Apache-2.0
"""Whether the ports of the exports are free, and can be connected to."""

import dataclasses
import errno
import socket
from collections.abc import Mapping

import psutil
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import export

#: Seconds until a connection on one host counts as dropped by a firewall.
_TIMEOUT = 5
#: Ports below need a right that the helper does not have (ip(7)).
_UNPRIVILEGED = 1024
#: libvirt's ports for the memory (migration_port_min and migration_port_max
#: in its qemu.conf).
_MEMORY = ('49152', '49215')
_EXPORTER = 'qemu-nbd'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of the exports.

    ``taken`` names, for each port in use, the program if it is known.
    ``fault`` says why no port can be used.
    """

    number: int
    taken: Mapping[int, str] = dataclasses.field(default_factory=dict)
    fault: str = ''


def look(settings: conf.Settings) -> Ports:
    """Try each port for a moment. Connects to the first free one."""
    wanted = range(settings.export_port_min, settings.export_port_max + 1)
    users, taken, free = None, {}, None
    for port in wanted:
        try:
            export.listen(settings.export_address, port).close()
            free = free or port
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                return Ports(number=len(wanted), fault=e.strerror or str(e))
            users = _users() if users is None else users
            taken[port] = users.get(port, 'another program')
    fault = ''
    if free is not None:
        fault = _unreachable(settings.export_address, free)
    return Ports(number=len(wanted), taken=taken, fault=fault)


def _users() -> Mapping[int, str]:
    """The programs that use TCP ports, as far as this process may know."""
    found = {}
    for each in psutil.net_connections('tcp'):
        if each.pid and each.laddr:
            try:
                found[each.laddr.port] = psutil.Process(each.pid).name()
            except psutil.NoSuchProcess:
                continue
    return found


def _unreachable(address: str, port: int) -> str:
    try:
        with export.listen(address, port):
            socket.create_connection((address, port), _TIMEOUT).close()
    except OSError as e:
        return f'this host cannot connect to port {port}: {e.strerror or e}'
    return ''


def result(
    settings: conf.Settings,
    found: Ports,
    qemu_conf: Mapping[str, str] | None,
) -> upgradecheck.Result:
    """Decide on the ports. Pure.

    :param qemu_conf: libvirt's settings; None if they are not known
    """
    address = settings.export_address
    if settings.export_port_min < _UNPRIVILEGED:
        return answers.failure(
            f'The helper may not use ports below {_UNPRIVILEGED}. Raise '
            f'[blockcopy] export_port_min.'
        )
    if found.fault:
        return answers.failure(
            f'No export can be served at {address} ({found.fault}). Set '
            f'[blockcopy] export_address to an address of this host, and open '
            f'the ports in its firewall.'
        )
    others = {k: v for k, v in found.taken.items() if v != _EXPORTER}
    if len(others) == found.number:
        return answers.failure(
            f'All ports of the exports are in use. {_users_of(others)}'
        )
    if others:
        return answers.warning(
            f'{len(others)} of {found.number} ports of the exports are in '
            f'use. {_users_of(others)}'
        )
    if _overlap(settings, qemu_conf or {}):
        return answers.warning(
            'The ports of the exports are among those that libvirt uses for '
            'the memory of guests. Set [blockcopy] export_port_min above '
            'migration_port_max of qemu.conf.'
        )
    return answers.success(
        f'{found.number} ports for {found.number // 2} disks at a time. From '
        f'each other host, run "nc -vz {address} '
        f'{settings.export_port_min}": an answer, also "refused", means that '
        f'no firewall is in between.'
    )


def _users_of(taken: Mapping[int, str]) -> str:
    named = ', '.join(f'{port} by {name}' for port, name in taken.items())
    return (
        f'In use: {named}. End these programs, or set export_port_min and '
        f'export_port_max to other ports.'
    )


def _overlap(settings: conf.Settings, qemu_conf: Mapping[str, str]) -> bool:
    names = ('migration_port_min', 'migration_port_max')
    low, high = (
        int(qemu_conf.get(name, default))
        for name, default in zip(names, _MEMORY, strict=True)
    )
    return settings.export_port_min <= high and (
        low <= settings.export_port_max
    )
