# SPDX-License-Identifier: Apache-2.0
"""The image that servers boot: the lab's kernel and init, and a small disk."""

import dataclasses
import random
from collections.abc import Mapping

from openstack import connection  # type: ignore[import-not-found]

from nova_blockcopy.tests.lab import kernel
from nova_blockcopy.tests.lab import records

MIB = 1024 * 1024
#: The guest's disks: root, ephemeral, swap.
TARGETS = ('vda', 'vdb', 'vdc')
#: The first MiB of a disk image, by which tests recognise the image.
CONTENT = random.Random(34).randbytes(MIB)
_FLAVORS: Mapping[str, Mapping[str, int]] = {
    'three-disks': {'disk': 1, 'ephemeral': 1, 'swap': 64},
    'no-disks': {'disk': 0},
}
_DISK = CONTENT + bytes(MIB)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """The writes of a guest to each of its disks; see init.c.

    :param disks: the number of disks
    :param region: bytes for records, after the first MiB
    :param interval: seconds between two records of a disk
    :param load: other writes behind the region, in bytes/s
    :param load_length: bytes behind the region that these writes go to
    """

    disks: int = len(TARGETS)
    region: int = 24 * MIB
    interval: float = 0.02
    load: int = 0
    load_length: int = 16 * MIB

    @property
    def command_line(self) -> str:
        parameters = {
            'disks': self.disks,
            'offset': MIB,
            'length': self.region,
            'interval': int(self.interval * 1_000_000),
            'load': self.load,
            'load_length': self.load_length,
        }
        ours = ' '.join(f'nbc.{k}={v}' for k, v in parameters.items())
        return f'console=ttyS0 quiet {ours}'

    @property
    def targets(self) -> tuple[str, ...]:
        return TARGETS[: self.disks]

    @property
    def where(self) -> records.Region:
        return records.Region(offset=MIB, length=self.region)


def ensure(to: connection.Connection, writes: Writes) -> str:
    """Return the id of an image for these writes, and create it if needed."""
    name = 'writes-' + '-'.join(map(str, dataclasses.astuple(writes)))
    found = to.image.find_image(name)
    if found is not None:
        return str(found.id)
    kinds = {
        'kernel': ('aki', kernel.image()),
        'initramfs': ('ari', kernel.initramfs()),
    }
    ids = {
        name: _upload(to, name, format, format, path.read_bytes())
        for name, (format, path) in kinds.items()
    }
    return _upload(
        *(to, name, 'bare', 'raw', _DISK),
        kernel_id=ids['kernel'],
        ramdisk_id=ids['initramfs'],
        os_command_line=writes.command_line,
    )


def flavor(to: connection.Connection, name: str = 'three-disks') -> str:
    """Return the id of a flavor, and create the flavor if needed.

    :param name: ``three-disks`` or ``no-disks``
    """
    found = to.compute.find_flavor(name)
    if found is None:
        found = to.compute.create_flavor(
            name=name, ram=128, vcpus=1, **_FLAVORS[name]
        )
    return str(found.id)


def _upload(
    to: connection.Connection,
    name: str,
    container: str,
    disk: str,
    content: bytes,
    **properties: str,
) -> str:
    """Upload an image, unless its name exists already, and return its id."""
    found = to.image.find_image(name)
    if found is not None:
        return str(found.id)
    made = to.image.create_image(
        name=name,
        container_format=container,
        disk_format=disk,
        visibility='public',
        **properties,
    )
    made.data = content
    made.upload(to.image)
    return str(made.id)
