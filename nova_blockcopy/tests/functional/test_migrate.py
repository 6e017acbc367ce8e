#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""A guest and its disks move from one host to the other."""


from nova_blockcopy import domxml
from nova_blockcopy.tests.functional import base


class TestMigrate(base.DriverTestCase):
    """Every kind of disk arrives complete, and stays complete."""

    def _migrate(self, *kinds, **options):
        made = self.set_scene(*kinds, **options)
        made.run(made.migration())
        return made

    def test_block_device(self):
        made = self._migrate('block')
        self.assert_intact(made, self.lab.b)

    def test_raw_file(self):
        made = self._migrate('raw')
        self.assert_intact(made, self.lab.b)

    def test_qcow2(self):
        made = self._migrate('qcow2')
        self.assert_intact(made, self.lab.b)

    def test_three_disks_of_mixed_kinds(self):
        made = self._migrate('block', 'layered', 'raw')
        self.assert_intact(made, self.lab.b)

    def test_definitions_name_the_bases(self):
        made = self._migrate('block', 'layered')
        connection = self.lab.b.connect()
        self.addCleanup(connection.close)
        domain = connection.lookupByUUIDString(made.guest.uuid)
        for flags in (0, 2):
            found = domxml.disks(domain.XMLDesc(flags))
            for target, disk in made.bases.items():
                self.assertTrue(
                    domxml.at_image(found[target], disk.image), found
                )
