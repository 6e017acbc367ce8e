# SPDX-License-Identifier: Apache-2.0
"""Whether a guest of another host can run on this host.

libvirt checks the same when the guest arrives. This check comes before any
data are copied.
"""

import os
from collections.abc import Iterator

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import needs
from nova_blockcopy.host import hypervisor

#: The network devices of this host.
_LINKS = '/sys/class/net'


def check(
    here: hypervisor.Hypervisor, guest: str, wanted: needs.Needs
) -> None:
    """Pass if this host has all that a guest needs, besides its disks.

    :param guest: the guest's name, for the message
    :raises GuestUnfit: something is missing
    :raises HypervisorError: libvirt does not answer
    """
    for reason in _missing(here, wanted):
        raise exception.GuestUnfit(guest=guest, host=here.host, reason=reason)


def _missing(
    here: hypervisor.Hypervisor, wanted: needs.Needs
) -> Iterator[str]:
    yield from _files(wanted)
    with here.translated('look at this host'):
        connection = here.connect()
    yield from _machine(connection, wanted)
    if wanted.cpu:
        yield from _cpu(connection, wanted)
    for name in wanted.networks:
        yield from _network(connection, name)


def _files(wanted: needs.Needs) -> Iterator[str]:
    for name in wanted.links:
        if not os.path.exists(os.path.join(_LINKS, name)):
            yield f'the host has no network device "{name}"; create it.'
    for path in wanted.directories:
        if not os.path.isdir(path):
            yield f'the directory {path} does not exist; create it.'
    for path in wanted.files:
        if not os.path.exists(path):
            yield f'{path} does not exist; copy the file there.'


def _machine(
    connection: libvirt.virConnect, wanted: needs.Needs
) -> Iterator[str]:
    """Ask for the capabilities, which libvirt has only of what it can run."""
    try:
        connection.getDomainCapabilities(
            *(wanted.emulator, wanted.arch, wanted.machine, wanted.type)
        )
    except libvirt.libvirtError as e:
        yield (
            f'libvirt there cannot run its machine ({e}). Install the same '
            f'QEMU.'
        )


def _cpu(connection: libvirt.virConnect, wanted: needs.Needs) -> Iterator[str]:
    """Compare the processor, as libvirt does at a start.

    See qemuProcessUpdateGuestCPU in libvirt's src/qemu/qemu_process.c.
    """
    machine = (wanted.emulator, wanted.arch, wanted.machine, wanted.type)
    try:
        found = connection.compareHypervisorCPU(*machine, wanted.cpu)
    except libvirt.libvirtError as e:
        yield (
            f'libvirt there does not know its processor ({e}). Choose another '
            f'host.'
        )
        return
    if found == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
        yield (
            'the processor there lacks features of its processor. Compare '
            'them with "virsh hypervisor-cpu-compare".'
        )


def _network(connection: libvirt.virConnect, name: str) -> Iterator[str]:
    try:
        if not connection.networkLookupByName(name).isActive():
            yield f'the network "{name}" is not active there; start it.'
    except libvirt.libvirtError as e:
        yield f'libvirt there has no network "{name}" ({e}). Define it.'
