# SPDX-License-Identifier: Apache-2.0
"""Where Nova would make bases, and what is in the way there."""

from nova_blockcopy import appraisal
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import surroundings
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples

MIB = 2**20
ROOT = f'{samples.UUID}_disk'


def need(path, kind=model.ImageKind.FILE):
    return appraisal.Need(
        disk='vda',
        path=path,
        kind=kind,
        size_bytes=64 * MIB,
        travel_bytes=3 * MIB,
    )


VOLUME = need(f'/dev/there/{ROOT}', model.ImageKind.BLOCK)


class TestSurroundings(base.TestCase):
    def setUp(self):
        super().setUp()
        self.seen = lambda: None
        engine = self.service()
        self.kept = self.fake(type(engine.kept), 'volumes', return_value=[])
        self.info = self.fake(
            compat, 'volume_group_info', return_value={'free': 128 * MIB}
        )
        self.volumes = self.fake(compat, 'list_volumes', return_value=[])
        self.here = surroundings.Surroundings(engine.kept, lambda: self.seen())

    def look(self, *needs):
        return self.here.survey(samples.UUID, needs)

    def test_files_go_into_the_directory_of_instances(self):
        found = self.look(need('/i/disk'), need('/i/disk.swap'))
        (room,) = found.rooms
        self.assertEqual(
            (str(self.instances), 6 * MIB, 128 * MIB),
            (room.place, room.needed_bytes, room.most_bytes),
        )
        self.assertLess(0, room.free_bytes)
        self.assertEqual((), found.refusals)

    def test_volumes_need_all_of_their_size(self):
        self.use_volumes('vg')
        found = self.look(VOLUME)
        (room,) = found.rooms
        self.assertEqual(
            ('volume group vg', 128 * MIB, 64 * MIB),
            (room.place, room.free_bytes, room.needed_bytes),
        )
        self.info.assert_called_once_with('vg')

    def test_a_volume_that_is_kept_needs_nothing(self):
        self.use_volumes('vg')
        self.kept.return_value = [f'/dev/vg/{ROOT}']
        self.volumes.return_value = [ROOT]
        found = self.look(VOLUME)
        self.assertEqual(0, found.rooms[0].needed_bytes)
        self.assertEqual((), found.refusals)

    def test_all_that_is_in_the_way(self):
        self.use_volumes('vg')
        self.volumes.return_value = [ROOT]
        (self.instances / samples.UUID).mkdir()

        def unseen():
            raise exception.UsersUnseen(host=base.HERE, reason='no.')

        self.seen = unseen
        refusals = self.look(VOLUME).refusals
        for words in (
            f'/dev/vg/{ROOT} already exists on host-a',
            f'{self.instances / samples.UUID} already exists on host-a',
            'cannot receive disks on volumes',
        ):
            self.assertEqual(1, sum(words in each for each in refusals))

    def test_a_volume_group_that_is_not_there(self):
        self.use_volumes('vg')
        self.info.side_effect = RuntimeError('vg not found')
        found = self.look(VOLUME)
        self.assertEqual((), found.rooms)
        self.assertIn('images_volume_group', found.refusals[0])

    def test_the_address_of_its_libvirt(self):
        self.assertEqual(base.HERE, self.here.address())
        self.conf.config(
            group='libvirt', live_migration_inbound_addr='192.0.2.7'
        )
        self.assertEqual('192.0.2.7', self.here.address())
