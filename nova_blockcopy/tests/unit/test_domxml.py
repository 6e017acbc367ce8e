# SPDX-License-Identifier: Apache-2.0
"""Domain XML: what is read from it, and where it is pointed."""

import dataclasses
from typing import Any
from typing import ClassVar

import ddt
from lxml import etree

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import transplant
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

CHAIN = (
    '<source file="/top.qcow2"/>'
    '<backingStore type="file"><format type="raw"/>'
    '<source file="/below.raw"/><backingStore/></backingStore>'
)
NBD = (
    '<source protocol="nbd" name="x"><host name="192.0.2.1" port="10809"/>'
    '</source>'
)
QCOW2_DRIVER = '<driver name="qemu" type="qcow2" cache="writeback"/>'


def only(xml):
    (disk,) = domxml.disks(samples.domain(xml)).values()
    return disk


@ddt.ddt
class TestReading(base.TestCase):
    def test_a_block_device(self):
        self.assertEqual(
            model.Disk(
                target='vda',
                device='disk',
                source=samples.image('/dev/vg/root'),
                cache='none',
                top_path='/dev/vg/root',
            ),
            only(samples.disk_xml()),
        )

    def test_a_layered_file(self):
        disk = only(
            samples.disk_xml('vdb', CHAIN, type_='file', driver=QCOW2_DRIVER)
        )
        self.assertEqual(
            samples.layered('/top.qcow2', '/below.raw'), disk.source
        )
        self.assertEqual('writeback', disk.cache)
        self.assertIsNone(disk.obstacle)

    def test_a_disk_without_driver_is_raw(self):
        disk = only(samples.disk_xml(driver=''))
        self.assertEqual(samples.image('/dev/vg/root'), disk.source)
        self.assertIsNone(disk.cache)

    @ddt.data(
        (NBD, model.NetworkSource, ('nbd', 'x', '192.0.2.1', 10809)),
        (
            '<source protocol="rbd" name="p/x"/>',
            model.NetworkSource,
            ('rbd', 'p/x', '', 0),
        ),
        (
            '<source protocol="nbd"><host transport="unix" socket="/s"/>'
            '</source>',
            model.NetworkSource,
            ('nbd', '', '', 0),
        ),
    )
    @ddt.unpack
    def test_a_network_disk(self, source, kind, fields):
        disk = only(samples.disk_xml(source=source, type_='network'))
        self.assertIsInstance(disk.source, kind)
        found = disk.source
        self.assertEqual(
            fields, (found.protocol, found.name, found.address, found.port)
        )

    @ddt.named_data(
        ('none', None, None),
        (
            'local layers',
            samples.layered('/top', '/below'),
            samples.layered('/top', '/below'),
        ),
        (
            'another export',
            samples.content(),
            model.NetworkSource(
                protocol='nbd',
                name='content-of-vda',
                address='192.0.2.1',
                port=49316,
            ),
        ),
    )
    @ddt.unpack
    def test_what_lies_below_a_network_disk(self, below, expected):
        disk = only(samples.remote_xml('vda', below))
        self.assertEqual(
            model.NetworkSource(
                protocol='nbd',
                name='export-of-vda',
                address='192.0.2.1',
                port=49216,
                backing=expected,
            ),
            disk.source,
        )

    def test_a_network_disk_whose_layers_are_not_told_of(self):
        disk = only(samples.disk_xml(source=NBD, type_='network'))
        self.assertIsNone(disk.source.backing)

    def test_an_empty_drive(self):
        disk = only(
            samples.disk_xml('sda', '', device='cdrom', more='<readonly/>')
        )
        self.assertIsNone(disk.source)
        self.assertIsNone(disk.obstacle)
        self.assertEqual(('cdrom', True), (disk.device, disk.readonly))

    @ddt.data('readonly', 'shareable')
    def test_marks(self, name):
        marked = only(samples.disk_xml(more=f'<{name}/>'))
        self.assertTrue(getattr(marked, name))
        self.assertFalse(getattr(only(samples.disk_xml()), name))

    @ddt.data(
        ('', None), ('<mirror/>', False), ('<mirror ready="yes"/>', True)
    )
    @ddt.unpack
    def test_a_copy_is_seen(self, mirror, ready):
        self.assertIs(ready, only(samples.disk_xml(more=mirror)).mirror_ready)

    @ddt.named_data(
        ('transient', {'more': '<transient/>'}, 'transient'),
        (
            'encrypted disk',
            {'more': '<encryption format="luks"/>'},
            'encrypted',
        ),
        (
            'encrypted source',
            {'source': '<source dev="/x"><encryption/></source>'},
            'encrypted',
        ),
        (
            'slice',
            {'source': '<source dev="/x"><slices/></source>'},
            'slice',
        ),
        ('type', {'type_': 'volume'}, 'type "volume"'),
        (
            'format',
            {'driver': '<driver name="qemu" type="vmdk"/>'},
            'format "vmdk"',
        ),
        ('path', {'source': '<source startupPolicy="optional"/>'}, 'source'),
        (
            'layer below',
            {
                'source': '<source dev="/x"/><backingStore type="network">'
                '<format type="raw"/><source protocol="nbd"/></backingStore>',
                'driver': QCOW2_DRIVER,
            },
            'not supported',
        ),
        (
            'undeclared format below',
            {
                'source': '<source dev="/x"/><backingStore type="file">'
                '<source file="/y"/></backingStore>',
                'driver': QCOW2_DRIVER,
            },
            'not supported',
        ),
    )
    @ddt.unpack
    def test_an_obstacle_is_named(self, arguments, obstacle):
        self.assertIn(obstacle, only(samples.disk_xml(**arguments)).obstacle)

    def test_the_order_is_kept(self):
        xml = samples.domain(*map(samples.disk_xml, ('vdc', 'vda', 'vdb')))
        self.assertEqual(['vdc', 'vda', 'vdb'], list(domxml.disks(xml)))

    def test_a_disk_without_target_is_an_error(self):
        xml = samples.domain('<disk type="block"/>')
        self.assertRaises(exception.XMLError, domxml.disks, xml)

    def test_the_name(self):
        self.assertEqual('a b', domxml.guest_name(samples.domain(name='a b')))
        self.assertEqual('', domxml.guest_name('<domain/>'))

    def test_files_of_the_host_are_not_drawn_in(self):
        secret = self.directory / 'secret'
        secret.write_text('secret')
        xml = (
            f'<!DOCTYPE d [<!ENTITY e SYSTEM "file://{secret}">]>'
            f'<domain><name>&e;</name></domain>'
        )
        error = self.assertRaises(exception.XMLError, domxml.guest_name, xml)
        self.assertIn('DOCTYPE', str(error))


class TestFreeze(base.TestCase):
    def test_moved_disks_get_their_last_delta_and_no_other_one_any(self):
        xml = samples.domain(*map(samples.disk_xml, ('vda', 'vdb', 'vdc')))
        moves = tuple(
            dataclasses.replace(samples.move(disk), deltas=deltas)
            for disk, deltas in (
                ('vdc', ('/d/c0',)),
                ('vda', ('/d/a0', '/d/a1&2')),
            )
        )
        root = etree.fromstring(domxml.freeze(xml, moves))
        self.assertEqual('domainsnapshot', root.tag)
        self.assertEqual(
            [
                ('vda', 'external', 'file', 'qcow2', '/d/a1&2'),
                ('vdb', 'no', None, None, None),
                ('vdc', 'external', 'file', 'qcow2', '/d/c0'),
            ],
            [
                (
                    disk.get('name'),
                    disk.get('snapshot'),
                    disk.get('type'),
                    *(
                        None if found is None else found.get(name)
                        for found, name in (
                            (disk.find('driver'), 'type'),
                            (disk.find('source'), 'file'),
                        )
                    ),
                )
                for disk in root.iterfind('disks/disk')
            ],
        )


@ddt.ddt
class TestPointing(base.TestCase):
    def setUp(self):
        super().setUp()
        self.chain = samples.layered('/new.qcow2', '/mine.raw')
        self.moves = (
            samples.move('vda'),
            samples.move('vdb', base=self.chain, source=self.chain),
        )
        self.exports = {
            'vda': (samples.export('vda', 1001),),
            'vdb': (samples.export('vdb', 1002),),
        }
        self.original = samples.domain(
            samples.disk_xml('vda', more='<boot order="1"/>'),
            samples.disk_xml('vdb', CHAIN, type_='file', driver=''),
            samples.disk_xml('vdc', more='<serial>s</serial>'),
        )

    def element(self, xml, target):
        (found,) = (
            disk
            for disk in etree.fromstring(xml).iterfind('devices/disk')
            if disk.xpath('string(target/@dev)') == target
        )
        return found

    def test_moved_disks_are_read_from_their_exports(self):
        xml = domxml.point_at_exports(self.original, self.moves, self.exports)
        disks = domxml.disks(xml)
        for target, port in (('vda', 1001), ('vdb', 1002)):
            self.assertEqual(
                model.NetworkSource(
                    protocol='nbd',
                    name=f'export-of-{target}',
                    address='192.0.2.1',
                    port=port,
                    backing=self.chain.backing if target == 'vdb' else None,
                ),
                disks[target].source,
            )
        self.assertEqual(samples.image('/dev/vg/root'), disks['vdc'].source)

    def test_an_encrypted_export_is_read_encrypted(self):
        clear = self.exports['vda'][0]
        encrypted = dataclasses.replace(clear, tls=True)
        xml = domxml.point_at_exports(
            self.original, self.moves, {**self.exports, 'vda': (encrypted,)}
        )
        tls = [
            self.element(xml, target).find('source').get('tls')
            for target in ('vda', 'vdb')
        ]
        self.assertEqual(['yes', None], tls)
        disk = domxml.disks(xml)['vda']
        for export, answer in ((encrypted, True), (clear, False)):
            self.assertIs(
                answer, domxml.at_exports(disk, self.moves[0], (export,))
            )

    def test_what_lies_below_is_read_from_its_export_too(self):
        moves = [
            samples.move(
                'vdb', source=self.chain, base=samples.image('/new.qcow2')
            )
        ]
        below = samples.content('vdb', 1003)
        exports = {'vdb': (*self.exports['vdb'], below)}
        xml = domxml.point_at_exports(self.original, moves, exports)
        found = self.element(xml, 'vdb')
        self.assertEqual(
            [('1002', 'network'), ('1003', 'network')],
            [
                (
                    source.xpath('string(host/@port)'),
                    source.getparent().get('type'),
                )
                for source in found.iter('source')
            ],
        )
        self.assertEqual(
            'raw', found.xpath('string(backingStore/format/@type)')
        )
        # the chain has an end that is declared as well
        (end,) = found.findall('backingStore/backingStore')
        self.assertEqual(([], {}), (list(end), dict(end.attrib)))

    def test_an_encrypted_export_below_is_read_encrypted(self):
        below = dataclasses.replace(samples.content(), tls=True)
        xml = domxml.point_at_exports(
            self.original,
            self.moves[:1],
            {'vda': (*self.exports['vda'], below)},
        )
        self.assertEqual(
            [None, 'yes'],
            [
                source.get('tls')
                for source in self.element(xml, 'vda').iter('source')
            ],
        )

    def test_the_top_layer_is_what_the_guest_writes_to(self):
        move = dataclasses.replace(self.moves[0], deltas=('/d0', '/d1'))
        exports = {'vda': (*self.exports['vda'], samples.content())}
        xml = domxml.point_at_exports(self.original, [move], exports)
        # although its image and its base are raw
        self.assertEqual(
            'qcow2', self.element(xml, 'vda').find('driver').get('type')
        )

    def test_a_remote_disk_stops_its_guest(self):
        xml = domxml.point_at_exports(self.original, self.moves, self.exports)
        for target, format_ in (('vda', 'raw'), ('vdb', 'qcow2')):
            driver = self.element(xml, target).find('driver')
            self.assertEqual(
                {
                    'name': 'qemu',
                    'type': format_,
                    'discard': 'unmap',
                    'error_policy': 'stop',
                    'rerror_policy': 'stop',
                },
                {
                    k: v
                    for k, v in driver.attrib.items()
                    if k not in ('cache', 'detect_zeroes')
                },
            )

    @ddt.data(
        # with a delta on top or without
        (samples.RAW, (), 'unmap'),
        (samples.RAW, ('/d0',), 'unmap'),
        (samples.QCOW2, (), 'off'),
        (samples.QCOW2, ('/d0',), 'off'),
    )
    @ddt.unpack
    def test_holes_are_kept_where_the_base_takes_it(
        self, format_, deltas, expected
    ):
        """Whatever the source is and had before."""
        for source in (samples.RAW, samples.QCOW2):
            move = samples.move(
                source=samples.image('/s', samples.FILE, source),
                base=samples.image('/b', samples.FILE, format_),
            )
            xml = domxml.point_at_exports(
                self.original.replace(
                    'cache="none"', 'cache="none" detect_zeroes="on"'
                ),
                [dataclasses.replace(move, deltas=deltas)],
                self.exports,
            )
            driver = self.element(xml, 'vda').find('driver')
            self.assertEqual(expected, driver.get('detect_zeroes'))

    def test_the_chain_is_declared_to_its_end(self):
        xml = domxml.point_at_exports(self.original, self.moves, self.exports)
        below = self.element(xml, 'vdb').find('backingStore')
        self.assertEqual('/mine.raw', below.find('source').get('file'))
        self.assertEqual('raw', below.find('format').get('type'))
        for end in (
            below.find('backingStore'),
            self.element(xml, 'vda').find('backingStore'),
        ):
            self.assertEqual(([], {}), (list(end), dict(end.attrib)))

    def test_other_disks_and_other_settings_stay(self):
        for xml in (
            domxml.point_at_exports(self.original, self.moves, self.exports),
            domxml.point_at_bases(self.original, self.moves),
        ):
            self.assertEqual(
                etree.tostring(self.element(self.original, 'vdc')),
                etree.tostring(
                    etree.fromstring(
                        etree.tostring(self.element(xml, 'vdc')),
                        etree.XMLParser(remove_blank_text=True),
                    )
                ),
            )
            self.assertEqual(
                '1', self.element(xml, 'vda').find('boot').get('order')
            )
            self.assertEqual('guest', domxml.guest_name(xml))

    def test_a_base_becomes_the_only_source(self):
        running = self.original.replace(
            '<boot order="1"/>', '<boot order="1"/><mirror ready="yes"/>'
        )
        xml = domxml.point_at_bases(running, self.moves)
        disks = domxml.disks(xml)
        self.assertEqual(samples.image('/dev/new/vda'), disks['vda'].source)
        self.assertIsNone(disks['vda'].mirror_ready)
        self.assertEqual(self.chain, disks['vdb'].source)
        self.assertEqual('none', disks['vda'].cache)
        for target in ('vda', 'vdb'):
            self.assertEqual(
                1, len(self.element(xml, target).findall('source'))
            )

    def test_bases_undo_exports(self):
        home = (samples.move('vda', base=samples.image('/dev/vg/root')),)
        away = domxml.point_at_exports(self.original, home, self.exports)
        self.assertEqual(
            domxml.disks(self.original),
            domxml.disks(domxml.point_at_bases(away, home)),
        )

    def test_disks_are_restored_and_the_rest_is_left(self):
        changed = domxml.point_at_bases(self.original, self.moves).replace(
            '65536', '99999'
        )
        fewer = samples.domain(
            samples.disk_xml('vda'), samples.disk_xml('vdb')
        )
        restored = transplant.restore_disks(
            changed, fewer, {'vda', 'vdb', 'vdc'}
        )
        self.assertIn('99999', restored)
        disks = domxml.disks(restored)
        self.assertEqual(['vda', 'vdb', 'vdc'], list(disks))
        self.assertEqual(
            [samples.image('/dev/vg/root')] * 3,
            [disk.source for disk in disks.values()],
        )

    def test_only_named_disks_are_restored(self):
        changed = domxml.point_at_bases(self.original, self.moves)
        restored = transplant.restore_disks(changed, self.original, {'vdb'})
        before, now = domxml.disks(changed), domxml.disks(restored)
        self.assertEqual(before['vda'], now['vda'])
        self.assertEqual(domxml.disks(self.original)['vdb'], now['vdb'])

    def test_a_copy_is_told_the_whole_chain(self):
        xml = domxml.copy_destination(self.chain)
        # a block copy takes a <disk> without a target
        disk = etree.fromstring(xml)
        self.assertEqual('file', disk.get('type'))
        etree.SubElement(disk, 'target', dev='vda')
        self.assertEqual(
            self.chain, only(etree.tostring(disk, encoding='unicode')).source
        )
        ends = [s for s in disk.iter('backingStore') if not len(s)]
        self.assertEqual(1, len(ends))


@ddt.ddt
class TestAtExports(base.TestCase):
    """What a disk is read from, against what it should be."""

    #: The exports of each kind of migration, and what a base then has below.
    kinds: ClassVar[dict[str, tuple[Any, Any]]] = {
        'none': ((samples.export(),), None),
        'local': (
            (samples.export(),),
            samples.image('/mine', samples.FILE),
        ),
        'content': ((samples.export(), samples.content()), None),
        # a base on top of an image, into which a delta is copied
        'both': (
            (samples.export(), samples.content()),
            samples.image('/mine', samples.FILE),
        ),
    }

    def at_exports(self, kind, xml):
        exports, backing = self.kinds[kind]
        base = samples.image('/b', samples.FILE, samples.QCOW2, backing)
        return domxml.at_exports(only(xml), samples.move(base=base), exports)

    @ddt.data(
        ('none', None),
        ('local', samples.image('/mine', samples.FILE)),
        ('content', samples.content()),
        ('both', samples.content()),
    )
    @ddt.unpack
    def test_all_layers_are_as_they_should_be(self, kind, below):
        self.assertTrue(
            self.at_exports(kind, samples.remote_xml('vda', below))
        )

    @ddt.data(
        ('none', samples.content()),
        ('none', samples.image('/mine', samples.FILE)),
        ('local', None),
        ('local', samples.content()),
        ('local', samples.image('/other', samples.FILE)),
        ('local', samples.image('/mine')),
        ('local', samples.layered('/mine', '/more')),
        ('content', None),
        ('content', samples.image('/mine', samples.FILE)),
        ('content', samples.content(port=1)),
        ('content', samples.export()),
        ('both', None),
        ('both', samples.image('/mine', samples.FILE)),
    )
    @ddt.unpack
    def test_something_else_lies_below(self, kind, below):
        self.assertFalse(
            self.at_exports(kind, samples.remote_xml('vda', below))
        )

    @ddt.data(*kinds)
    def test_another_top_layer(self, kind):
        exports, backing = self.kinds[kind]
        below = backing if len(exports) == 1 else exports[1]
        good = samples.remote_xml('vda', below)
        for one, other in (
            ('port="49216"', 'port="49215"'),
            ('export-of-vda', 'export-of-vdb'),
            ('protocol="nbd"', 'protocol="rbd"'),
        ):
            self.assertIn(one, good)
            self.assertFalse(self.at_exports(kind, good.replace(one, other)))

    @ddt.data(*kinds)
    def test_a_disk_that_is_local(self, kind):
        for xml in (
            samples.disk_xml(),
            samples.disk_xml('sda', '', device='cdrom'),
        ):
            self.assertFalse(self.at_exports(kind, xml))


@ddt.ddt
class TestAtImage(base.TestCase):
    chain = samples.layered('/new', '/below')

    @ddt.named_data(
        ('the same', samples.layered('/new', '/below'), None, True),
        ('layers left out', samples.layered('/new', '/x'), None, True),
        ('another path', samples.layered('/old', '/below'), None, False),
        (
            'another format',
            samples.image('/new', samples.FILE),
            None,
            False,
        ),
        (
            'another kind',
            samples.image('/new', format_=samples.QCOW2),
            None,
            False,
        ),
        ('still copied', samples.layered('/new', '/below'), True, False),
        ('empty', None, None, False),
    )
    @ddt.unpack
    def test_at_image(self, source, mirror, answer):
        disk = model.Disk(
            target='vda', device='disk', source=source, mirror_ready=mirror
        )
        self.assertIs(answer, domxml.at_image(disk, self.chain))
