# SPDX-License-Identifier: Apache-2.0
"""Each setting of a disk that libvirt knows arrives, or is refused."""

import os
import pathlib

import ddt
from lxml import etree

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

_SCHEMAS = pathlib.Path('/usr/share/libvirt/schemas')
_RNG = '{http://relaxng.org/ns/structure/1.0}'
#: As deep as a setting is looked for below <disk>.
_DEPTH = 2

#: Children of <disk> that arrive as they are, and its attributes.
KEPT = {
    *('@device', '@model', '@snapshot', 'acpi', 'address', 'alias'),
    *('backenddomain', 'blockio', 'boot', 'geometry', 'iotune', 'product'),
    *('serial', 'target', 'vendor', 'wwn'),
}
#: Those of <driver> that arrive, with a value.
DRIVER = {
    **dict.fromkeys(('ats', 'iommu', 'packed', 'page_per_vq'), 'on'),
    **dict.fromkeys(('event_idx', 'ioeventfd'), 'on'),
    **dict.fromkeys(('queues', 'queue_size', 'iothread'), '2'),
    **{'cache': 'none', 'io': 'native', 'name': 'qemu'},
}
#: The engine sets them in the remote window; the base has the old ones again.
WINDOW = {
    'discard': 'ignore',
    'detect_zeroes': 'on',
    'error_policy': 'report',
    'rerror_policy': 'report',
}
#: Only a qcow2 has them.
QCOW2 = {'@discard_no_unref', 'metadata_cache'}
#: With these a disk does not move; each is an element or an attribute.
REFUSED = {
    *('encryption', 'readonly', 'shareable', 'throttlefilters', 'transient'),
    *('source/@startupPolicy', 'source/@fdgroup', 'source/seclabel'),
    *('source/reservations', 'source/slices', 'source/encryption'),
    *('source/dataStore', 'driver/@copy_on_read'),
}
#: Only a disk of another kind has them, which does not move: a LUN, a network
#: disk, an NVMe disk, a disk of a storage pool, a CD drive.
OTHERS = {
    *('@rawio', '@sgio', 'auth', 'source/@dir', 'source/@managed'),
    *('source/@mode', 'source/@name', 'source/@namespace', 'source/@path'),
    *('source/@pool', 'source/@protocol', 'source/@query', 'source/@tls'),
    *('source/@tlsHostname', 'source/@type', 'source/@volume'),
    *('source/address', 'source/auth', 'source/config', 'source/cookies'),
    *('source/host', 'source/identity', 'source/initiator'),
    *('source/knownHosts', 'source/readahead', 'source/reconnect'),
    *('source/snapshot', 'source/ssl', 'source/timeout'),
}
#: The location itself, and what libvirt notes there.
PLACE = {
    *('@type', 'backingStore', 'driver', 'mirror', 'privateData', 'source'),
    *('source/@dev', 'source/@file', 'source/@index', 'source/privateData'),
    'driver/@type',
}
#: An IOThread for each queue; libvirt keeps it with the driver.
KEPT_CHILDREN = {'driver/iothreads'}


class Schema:
    """libvirt's schema of a domain."""

    def __init__(self) -> None:
        self._defines: dict[str, list[etree._Element]] = {}
        self._loaded: set[str] = set()
        self._load('domain.rng')

    def settings(self) -> set[str]:
        """The elements and attributes below <disk>, as paths."""
        found: set[str] = set()
        for define in self._defines['disk']:
            for element in define.iter(f'{_RNG}element'):
                if element.get('name') == 'disk':
                    self._walk(element, (), found, frozenset())
        return found

    def _load(self, name: str) -> None:
        if name in self._loaded:
            return
        self._loaded.add(name)
        root = etree.parse(os.path.join(_SCHEMAS, name)).getroot()
        for define in root.iter(f'{_RNG}define'):
            self._defines.setdefault(define.get('name', ''), []).append(define)
        for include in root.iter(f'{_RNG}include'):
            self._load(include.get('href', ''))

    def _walk(self, node, path, found, seen) -> None:
        for child in node:
            name = child.get('name', '') if isinstance(child.tag, str) else ''
            if child.tag == f'{_RNG}attribute':
                found.add('/'.join((*path, f'@{name}')))
            elif child.tag == f'{_RNG}element':
                below = (*path, name)
                found.add('/'.join(below))
                if len(below) < _DEPTH and name not in PLACE - {
                    'source',
                    'driver',
                }:
                    self._walk(child, below, found, seen)
            elif child.tag == f'{_RNG}ref':
                if (name, path) not in seen:
                    for define in self._defines.get(name, []):
                        self._walk(define, path, found, seen | {(name, path)})
            else:
                self._walk(child, path, found, seen)


def known() -> set[str]:
    """All settings that this module has an answer for."""
    driver = {f'driver/@{name}' for name in (*DRIVER, *WINDOW)}
    qcow2 = {f'driver/{name}' for name in QCOW2}
    return {
        *(KEPT | REFUSED | OTHERS | PLACE | KEPT_CHILDREN),
        *(driver | qcow2),
    }


@ddt.ddt
class TestSettings(base.TestCase):
    def moved(self, xml, format_=samples.RAW):
        """The disk after a migration into a base of a format."""
        image = samples.image('/base', samples.FILE, format_)
        move = samples.move('vda', base=image)
        exports = {'vda': (samples.export(),)}
        domain = samples.domain(xml)
        remote = domxml.point_at_exports(domain, [move], exports)
        self.assertTrue(
            domxml.at_exports(
                domxml.disks(remote)['vda'], move, exports['vda']
            )
        )
        arrived = domxml.parse(domxml.point_at_bases(domain, [move]))
        (disk,) = arrived.findall('devices/disk')
        return disk

    def test_the_schema_has_no_other_settings(self):
        unknown = {
            path
            for path in Schema().settings()
            if path not in known()
            # what is below a child that is kept is kept
            and path.partition('/')[0] not in KEPT | OTHERS | REFUSED
        }
        self.assertEqual(set(), unknown)

    @ddt.data(*sorted(KEPT - {'@device', 'target'}))
    def test_kept(self, name):
        attribute = name.startswith('@')
        more = '' if attribute else f'<{name} x="1"><y>2</y></{name}>'
        xml = samples.disk_xml(more=more)
        if attribute:
            xml = xml.replace('<disk ', f'<disk {name[1:]}="x" ')
        disk = self.moved(xml)
        if attribute:
            self.assertEqual('x', disk.get(name[1:]))
        else:
            self.assertEqual('2', disk.findtext(f'{name}/y'))

    @ddt.data(*sorted({**DRIVER, **WINDOW}.items()))
    @ddt.unpack
    def test_kept_of_the_driver(self, name, value):
        driver = f'<driver type="raw" {name}="{value}"/>'
        disk = self.moved(samples.disk_xml(driver=driver))
        self.assertEqual(value, disk.find('driver').get(name))

    @ddt.data(*model.ImageFormat)
    def test_what_only_a_qcow2_has(self, format_):
        driver = (
            '<driver type="qcow2" discard_no_unref="on"><metadata_cache>'
            '<max_size unit="bytes">1</max_size></metadata_cache></driver>'
        )
        disk = self.moved(samples.disk_xml(driver=driver), format_)
        kept = format_ is samples.QCOW2
        found = disk.find('driver')
        self.assertIs(kept, found.find('metadata_cache') is not None)
        self.assertIs(kept, found.get('discard_no_unref') is not None)

    @ddt.data(*sorted(REFUSED))
    def test_refused(self, path):
        more, source = '', '<source dev="/dev/x"/>'
        driver = '<driver type="raw"/>'
        if path.startswith('driver/@'):
            driver = f'<driver type="raw" {path.partition("@")[2]}="on"/>'
        elif path.startswith('source/@'):
            source = f'<source dev="/dev/x" {path.partition("@")[2]}="x"/>'
        elif path.startswith('source/'):
            child = path.partition('/')[2]
            source = f'<source dev="/dev/x"><{child}/></source>'
        else:
            more = f'<{path}/>'
        disk = domxml.disks(
            samples.domain(
                samples.disk_xml(driver=driver, source=source, more=more)
            )
        )['vda']
        self.assertTrue(disk.obstacle or disk.readonly or disk.shareable)
