# SPDX-License-Identifier: Apache-2.0
"""A real guest that writes numbered records to all its disks."""

import socket
import uuid
from collections.abc import Sequence

import libvirt
from lxml import etree

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import kernel
from nova_blockcopy.tests.lab import records

_MIB = 1024 * 1024
_SECONDS = 30


class Guest:
    """One guest, wherever it runs.

    :param hosts: both hosts of its lab
    :param images: of its disks, vda first
    :param region: bytes of each disk for records, from the first MiB on
    :param interval: seconds between two records of a disk
    :param load: bytes/s of other writes, behind the region
    :param chaos: seconds between two operations of a writer that writes,
        zeroes and discards all over each disk, but not in the region; 0 for
        no such writer
    :param discards: chaos has discards, after which a disk may have anything
        at their place: what was there, or zeroes
    :param reader: seconds between two reads of 4 KiB anywhere on each disk;
        0 for none, a microsecond for as many as there can be
    """

    def __init__(
        self,
        hosts: Sequence[host.Host],
        images: Sequence[model.Image],
        *,
        region: int = 8 * _MIB,
        interval: float = 0.01,
        load: int = 0,
        load_length: int = 8 * _MIB,
        chaos: float = 0,
        discards: bool = True,
        reader: float = 0,
    ) -> None:
        self.uuid = str(uuid.uuid4())
        self.name = f'guest-{self.uuid[:8]}'
        self.targets = [f'vd{"abcdefgh"[n]}' for n in range(len(images))]
        self.region = records.Region(offset=_MIB, length=region)
        #: All that it writes to, with what is no record.
        self.written = records.Region(
            offset=_MIB, length=region + (load_length if load else 0)
        )
        #: Whether it may write to any place of its disks.
        self.writes_anywhere = bool(chaos)
        self._hosts = hosts
        self._images = images
        self._parameters = {
            'disks': len(images),
            'offset': _MIB,
            'length': region,
            'interval': int(interval * 1_000_000),
            'load': load,
            'load_length': load_length,
            'chaos': int(chaos * 1_000_000),
            'discards': int(discards),
            'reader': int(reader * 1_000_000),
        }
        path = f'/var/log/libvirt/{self.name}.console'
        self._console = path
        self._orders = f'/run/libvirt/{self.name}.orders'
        self.log = records.Log([each.outside(path) for each in hosts])

    def start(self, at: host.Host) -> None:
        """Define and start it, and wait for a record on each disk."""
        connection = at.connect()
        try:
            connection.defineXML(self.xml()).create()
        finally:
            connection.close()
        self.log.start()
        for target in self.targets:
            self.log.wait_for_more(target, 1)

    def runs_on(self) -> str:
        """The name of the host that it is active on; '' for none."""
        active = [
            each.name
            for each in self._hosts
            if self._domain_state(each) == libvirt.VIR_DOMAIN_RUNNING
        ]
        return ','.join(active)

    def crashes(self) -> list[str]:
        """Where QEMU has crashed, and what it said; in sentences."""
        found = []
        for each in self._hosts:
            log = each.outside(f'/var/log/libvirt/qemu/{self.name}.log')
            lines = log.read_text().splitlines() if log.exists() else []
            if any('reason=crashed' in line for line in lines):
                said = [line for line in lines if 'qemu-system' in line]
                found.append(f'QEMU crashed on host {each.name}: {said[-1]}')
        return found

    def end(self) -> None:
        """Destroy and undefine it on both hosts."""
        self.log.stop()
        for each in self._hosts:
            each.end_guests(self.uuid)

    def pause(self, at: host.Host) -> None:
        """Stop it, which makes QEMU write out what it holds of a qcow2."""
        connection = at.connect()
        connection.lookupByUUIDString(self.uuid).suspend()
        connection.close()

    def resume(self, at: host.Host) -> None:
        connection = at.connect()
        connection.lookupByUUIDString(self.uuid).resume()
        connection.close()

    def hush(self, at: host.Host) -> None:
        """Have it write nothing until it is let go; it runs on meanwhile.

        :raises AssertionError: it does not obey
        """
        self._order(at, b'q', quiet=True)

    def let_go(self, at: host.Host) -> None:
        """Have it write again.

        :raises AssertionError: it does not obey
        """
        self._order(at, b'g', quiet=False)

    def _order(self, at: host.Host, order: bytes, *, quiet: bool) -> None:
        heard = self.log.answers

        def obeyed() -> bool:
            if self.log.answers > heard and self.log.quiet is quiet:
                return True
            # an order may get lost like any byte of a serial line
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(f'/proc/{at.pid}/root{self._orders}')
                line.sendall(order)
            return False

        if not waiting.until(obeyed, timeout=_SECONDS, interval=0.1):
            raise AssertionError(
                f'the guest takes no orders on host {at.name}; '
                f'{self.log.errors[-3:]}'
            )

    def _domain_state(self, at: host.Host) -> int | None:
        connection = at.connect()
        try:
            return int(connection.lookupByUUIDString(self.uuid).state()[0])
        except libvirt.libvirtError:
            return None
        finally:
            connection.close()

    def xml(self) -> str:
        parameters = ' '.join(
            f'nbc.{name}={value}' for name, value in self._parameters.items()
        )
        root = etree.fromstring(
            f'''
            <domain type="qemu">
              <name>{self.name}</name>
              <uuid>{self.uuid}</uuid>
              <memory unit="MiB">96</memory>
              <vcpu>1</vcpu>
              <os>
                <type arch="x86_64" machine="pc">hvm</type>
                <kernel>{kernel.image()}</kernel>
                <initrd>{kernel.initramfs()}</initrd>
                <cmdline>console=ttyS0 quiet {parameters}</cmdline>
              </os>
              <devices>
                <controller type="usb" model="none"/>
                <memballoon model="none"/>
                <serial type="file">
                  <source path="{self._console}" append="on"/>
                </serial>
                <serial type="unix">
                  <source mode="bind" path="{self._orders}"/>
                </serial>
              </devices>
            </domain>
            '''
        )
        devices = root.find('devices')
        assert devices is not None
        for target, image in zip(self.targets, self._images, strict=True):
            disk = domxml.parse(domxml.copy_destination(image))
            disk.set('device', 'disk')
            driver = disk.find('driver')
            assert driver is not None
            driver.set('cache', 'none')
            driver.set('discard', 'unmap')
            etree.SubElement(disk, 'target', dev=target, bus='virtio')
            devices.append(disk)
        return domxml.text(root)
