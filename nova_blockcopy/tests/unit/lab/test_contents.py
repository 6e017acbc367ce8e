# SPDX-License-Identifier: Apache-2.0
"""Where contents are read from, and whether a difference is found."""

import ddt

from nova_blockcopy.tests.lab import contents
from nova_blockcopy.tests.unit import base

XML = """
<domain>
  <devices>
    <disk type='network' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source protocol='nbd' name='delta' tls='no' index='1'>
        <host name='10.98.0.1' port='49216'/>
      </source>
      <backingStore type='network' index='2'>
        <format type='raw'/>
        <source protocol='nbd' name='content'>
          <host name='10.98.0.1' port='49217'/>
        </source>
        <backingStore/>
      </backingStore>
      <mirror type='file' file='/top' format='qcow2' job='copy' ready='yes'>
        <format type='qcow2'/>
        <source file='/top' index='3'/>
        <backingStore type='file' index='4'>
          <format type='raw'/>
          <source file='/below'/>
          <backingStore/>
        </backingStore>
      </mirror>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw'/>
      <source dev='/dev/loop1'>
        <slices>
          <slice type='storage' offset='0' size='4096'/>
        </slices>
      </source>
      <backingStore/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/alone'/>
      <backingStore/>
      <target dev='vdc' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/>
    </disk>
  </devices>
</domain>
"""


def nbd(export, port):
    return {
        'driver': 'nbd',
        'export': export,
        'server': {'type': 'inet', 'host': '10.98.0.1', 'port': port},
    }


def file(path, driver='file'):
    return {
        'driver': driver,
        'filename': path,
        'locking': 'off',
        'cache': {'direct': True},
    }


class TestNodes(base.TestCase):
    def test_what_a_guest_sees_is_the_whole_chain(self):
        found = contents.sources(XML)
        self.assertEqual(['vda', 'vdb', 'vdc'], sorted(found))
        self.assertEqual(
            {
                'driver': 'qcow2',
                'file': nbd('delta', '49216'),
                'backing': {'driver': 'raw', 'file': nbd('content', '49217')},
            },
            found['vda'],
        )

    def test_a_slice_is_read_as_one(self):
        self.assertEqual(
            {
                'driver': 'raw',
                'file': {
                    'driver': 'raw',
                    'offset': 0,
                    'size': 4096,
                    'file': file('/dev/loop1', 'host_device'),
                },
            },
            contents.sources(XML)['vdb'],
        )

    def test_no_header_is_asked_for_what_lies_below(self):
        self.assertEqual(
            {'driver': 'qcow2', 'file': file('/alone'), 'backing': None},
            contents.sources(XML)['vdc'],
        )

    def test_only_a_disk_that_is_copied_has_a_mirror(self):
        self.assertEqual(
            {
                'vda': {
                    'driver': 'qcow2',
                    'file': file('/top'),
                    'backing': {'driver': 'raw', 'file': file('/below')},
                }
            },
            contents.mirrors(XML),
        )

    def test_layers_refer_to_each_other(self):
        self.assertEqual(
            [
                {
                    'driver': 'raw',
                    'file': nbd('content', '49217'),
                    'node-name': 'layer0',
                    'read-only': True,
                },
                {
                    'driver': 'qcow2',
                    'file': nbd('delta', '49216'),
                    'backing': 'layer0',
                    'node-name': 'layer1',
                    'read-only': True,
                },
            ],
            contents.graph(contents.sources(XML)['vda']),
        )

    def test_no_backing_stays_none(self):
        (found,) = contents.graph(contents.sources(XML)['vdc'])
        self.assertIsNone(found['backing'])


@ddt.ddt
class TestCompare(base.TestCase):
    def _compare(self, wanted, found):
        paths = [self.directory / name for name in ('wanted', 'found')]
        for path, content in zip(paths, (wanted, found), strict=True):
            path.write_bytes(content)
        return contents.compare('vda', *paths)

    @ddt.data(b'', bytes(200_000), bytes(300_000))
    def test_what_comes_after_the_end_does_not_matter(self, more):
        content = bytes(range(200)) * 1000
        self.assertIsNone(self._compare(content, content + more))

    def test_each_byte_counts(self):
        content = bytearray(400_000)
        for at in (65_535, 65_536, 399_999):
            content[at] = 1
        found = self._compare(bytes(400_000), bytes(content))
        assert found is not None
        self.assertEqual(3, found.differing_bytes)
        self.assertEqual(65_535, found.first_offset)
        self.assertEqual(bytes(1), found.wanted)
        # the rest of its piece, which is what was read at once
        self.assertEqual(b'\x01', found.found)
        self.assertIn('65535: 01 in place of', str(found))

    def test_what_is_lacking_differs(self):
        found = self._compare(bytes(100_000), bytes(99_000))
        assert found is not None
        self.assertEqual(
            (1000, 99_000),
            (
                found.differing_bytes,
                found.first_offset,
            ),
        )
