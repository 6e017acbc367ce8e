# SPDX-License-Identifier: Apache-2.0
"""A guest that writes numbered records to all its disks (init.c)."""

import os
import pathlib
import socket
import uuid
from collections.abc import Mapping
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
#: Bytes at the end of a console that have the last message of a kernel.
_TAIL = 200
#: A firmware of the package seabios, which QEMU needs anyway.
_LOADER = '/usr/share/seabios/bios-256k.bin'


class Guest:
    """One guest of a lab, on either host.

    :param hosts: both hosts of the lab
    :param images: the images of the guest's disks, vda first
    :param region: bytes of each disk for records, after the first MiB
    :param interval: seconds between two records of a disk
    :param load: other writes behind the region, in bytes/s for each disk
    :param load_length: bytes behind the region that these writes go to
    :param chaos: seconds between two operations of a writer that writes,
        zeroes and discards at random places outside of the region; 0 for no
        such writer
    :param discards: some operations of the chaos are discards; a discarded
        place has its old data or zeroes
    :param reader: seconds between two reads of 4 KiB at random places of each
        disk; 0 for no reads, a microsecond for as many as possible
    :param cache: the cache mode of the disks, by libvirt's names
    :param firmware: the guest has UEFI variables and a TPM. Its firmware is
        SeaBIOS in a flash, because UEFI takes minutes without KVM.
    :param lazy: the guest's writes do not wait for stable storage
    :param acpi: the guest has ACPI, which power-off and hot-plug need. After a
        crash of its kernel, libvirt keeps the guest.
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
        cache: str = 'none',
        lazy: bool = False,
        acpi: bool = False,
        firmware: bool = False,
    ) -> None:
        self.uuid = str(uuid.uuid4())
        self.name = f'guest-{self.uuid[:8]}'
        self.targets = [f'vd{"abcdefgh"[n]}' for n in range(len(images))]
        self.region = records.Region(offset=_MIB, length=region)
        #: The records and the load together.
        self.written = records.Region(
            offset=_MIB, length=region + (load_length if load else 0)
        )
        #: Whether the guest writes at random places of its disks.
        self.writes_anywhere = bool(chaos)
        self._acpi = acpi
        self._hosts = hosts
        self._images = images
        self._cache = cache
        self._firmware = firmware
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
            'lazy': int(lazy),
        }
        self.nvram = f'/var/lib/libvirt/qemu/{self.name}.vars'
        path = f'/var/log/libvirt/{self.name}.console'
        self._console = path
        self._orders = f'/run/libvirt/{self.name}.orders'
        self.log = records.Log([each.outside(path) for each in hosts])

    def start(self, at: host.Host) -> None:
        """Define and start the guest, and wait for a record on each disk."""
        if self._firmware:
            # not what libvirt makes from the template
            variables = os.urandom(os.path.getsize(_LOADER))
            at.outside(self.nvram).write_bytes(variables)
        connection = at.connect()
        try:
            connection.defineXML(self.xml()).create()
        finally:
            connection.close()
        self.log.start()
        for target in self.targets:
            self.log.wait_for_more(target, 1)

    def runs_on(self) -> str:
        """Return the name of the host that the guest runs on; '' for none."""
        active = [
            each.name
            for each in self._hosts
            if self._domain_state(each) == libvirt.VIR_DOMAIN_RUNNING
        ]
        return ','.join(active)

    def crashes(self) -> list[str]:
        """Describe each crash of the guest's QEMU, with its last message."""
        found = []
        for each in self._hosts:
            log = each.outside(f'/var/log/libvirt/qemu/{self.name}.log')
            lines = log.read_text().splitlines() if log.exists() else []
            if any('reason=crashed' in line for line in lines):
                said = [line for line in lines if 'qemu-system' in line]
                found.append(f'QEMU crashed on host {each.name}: {said[-1]}')
        return found

    def end(self) -> None:
        """Destroy and undefine the guest on both hosts."""
        self.log.stop()
        for each in self._hosts:
            each.end_guests(self.uuid)

    def pause(self, at: host.Host) -> None:
        """Pause the guest, which makes QEMU write out the tables of qcow2."""
        connection = at.connect()
        connection.lookupByUUIDString(self.uuid).suspend()
        connection.close()

    def resume(self, at: host.Host) -> None:
        """Resume the paused guest."""
        connection = at.connect()
        connection.lookupByUUIDString(self.uuid).resume()
        connection.close()

    def hush(self, at: host.Host) -> None:
        """Tell the guest to stop writing until :meth:`let_go`.

        The guest keeps running.

        :raises AssertionError: the guest does not obey
        """
        self._order(at, b'q', quiet=True)

    def let_go(self, at: host.Host) -> None:
        """Tell the guest to write again.

        :raises AssertionError: the guest does not obey
        """
        self._order(at, b'g', quiet=False)

    def reboot(self, at: host.Host) -> None:
        """Tell the guest to reboot itself, once.

        :raises OSError: the guest is not on the host
        """
        self._send(at, b'r')

    def power_off(self, at: host.Host) -> None:
        """Tell the guest to shut itself down, once.

        :raises OSError: the guest is not on the host
        """
        self._send(at, b'o')

    def crash(self, at: host.Host) -> None:
        """Make the kernel of the guest crash. The guest must have ACPI.

        :raises OSError: the guest is not on the host
        """
        self._send(at, b'c')

    def panicked(self, at: host.Host) -> bool:
        """Tell whether the kernel of the guest has panicked on a host."""
        console = at.outside(self._console)
        return b'end Kernel panic' in console.read_bytes()[-_TAIL:]

    def _order(self, at: host.Host, order: bytes, *, quiet: bool) -> None:
        heard = self.log.answers

        def obeyed() -> bool:
            if self.log.answers > heard and self.log.quiet is quiet:
                return True
            self._send(at, order)  # a serial line may lose the order
            return False

        if not waiting.until(obeyed, timeout=_SECONDS, interval=0.1):
            raise AssertionError(
                f'the guest on host {at.name} does not answer the order '
                f'{order!r}; its last errors: {self.log.errors[-3:]}'
            )

    def _send(self, at: host.Host, order: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(f'/proc/{at.pid}/root{self._orders}')
            line.sendall(order)

    def _domain_state(self, at: host.Host) -> int | None:
        connection = at.connect()
        try:
            return int(connection.lookupByUUIDString(self.uuid).state()[0])
        except libvirt.libvirtError:
            return None
        finally:
            connection.close()

    def xml(self) -> str:
        """Return the definition of the guest's domain."""
        root = definition(
            name=self.name,
            uuid=self.uuid,
            boot=self._hosts[0].boot,
            console=self._console,
            parameters=self._parameters,
            disks=dict(zip(self.targets, self._images, strict=True)),
            cache=self._cache,
        )
        console = root.find('devices/serial')
        assert console is not None
        orders = etree.Element('serial', type='unix')
        etree.SubElement(orders, 'source', mode='bind', path=self._orders)
        console.addnext(orders)
        if self._firmware:
            self._add_firmware(root)
        elif self._acpi:
            _add_acpi(root)
        return domxml.text(root)

    def _add_firmware(self, root: domxml.Element) -> None:
        system, devices = root.find('os'), root.find('devices')
        assert system is not None
        assert devices is not None
        loader = etree.Element('loader', readonly='yes', type='pflash')
        loader.text = _LOADER
        nvram = etree.Element('nvram', template=_LOADER)
        nvram.text = self.nvram
        system[1:1] = [loader, nvram]
        # libvirt takes a loader in a flash for UEFI, which needs ACPI
        _add_acpi(root)
        tpm = etree.SubElement(devices, 'tpm', model='tpm-tis')
        etree.SubElement(tpm, 'backend', type='emulator', version='2.0')


def definition(
    *,
    name: str,
    uuid: str,
    boot: pathlib.PurePath,
    console: str,
    parameters: Mapping[str, int],
    disks: Mapping[str, model.Image],
    cache: str,
) -> domxml.Element:
    """Make the definition of a domain that runs the test guest.

    :param boot: the directory with the kernel and the initramfs
    :param console: the path of the file for the guest's reports
    :param parameters: those of init.c, without their prefix
    :param disks: by target
    """
    words = ' '.join(f'nbc.{key}={value}' for key, value in parameters.items())
    root = etree.fromstring(
        f'''
        <domain type="qemu">
          <name>{name}</name>
          <uuid>{uuid}</uuid>
          <memory unit="MiB">96</memory>
          <vcpu>1</vcpu>
          <os>
            <type arch="x86_64" machine="pc">hvm</type>
            <kernel>{boot / kernel.KERNEL}</kernel>
            <initrd>{boot / kernel.INITRAMFS}</initrd>
            <cmdline>console=ttyS0 quiet {words}</cmdline>
          </os>
          <devices>
            <controller type="usb" model="none"/>
            <memballoon model="none"/>
            <serial type="file">
              <source path="{console}" append="on"/>
            </serial>
          </devices>
        </domain>
        '''
    )
    devices = root.find('devices')
    assert devices is not None
    for target, image in disks.items():
        disk = domxml.parse(domxml.copy_destination(image))
        disk.set('device', 'disk')
        driver = disk.find('driver')
        assert driver is not None
        driver.set('cache', cache)
        driver.set('discard', 'unmap')
        etree.SubElement(disk, 'target', dev=target, bus='virtio')
        devices.append(disk)
    return root


def _add_acpi(root: domxml.Element) -> None:
    system, devices = root.find('os'), root.find('devices')
    assert system is not None
    assert devices is not None
    features = etree.Element('features')
    etree.SubElement(features, 'acpi')
    system.addnext(features)
    etree.SubElement(root, 'on_crash').text = 'preserve'
    etree.SubElement(devices, 'panic', model='isa')
