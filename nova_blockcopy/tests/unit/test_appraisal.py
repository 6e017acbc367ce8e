# SPDX-License-Identifier: Apache-2.0
"""What follows from the facts of both hosts, and each reason for a refusal."""

import dataclasses

from nova_blockcopy import appraisal
from nova_blockcopy import model
from nova_blockcopy import outlook
from nova_blockcopy import wire
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

MIB = 2**20
GIB = 2**30
NEW = 10_000_009


def side(host='host-a', **values):
    return appraisal.Side(
        host=host, libvirt=9_000_000, hypervisor=NEW, **values
    )


def room(free, needed, purpose='the bases', most=0):
    return appraisal.Room(
        purpose=purpose,
        place='/somewhere',
        free_bytes=free * MIB,
        needed_bytes=needed * MIB,
        most_bytes=most * MIB,
    )


def disk(name='vda', image=None, **values):
    return appraisal.Disk(
        disk=name,
        image=image or samples.image(),
        size_bytes=GIB,
        **{'travel_bytes': 512 * MIB, **values},
    )


RULES = appraisal.Rules(
    mode=model.Mode.SEEDED,
    limit=64 * MIB,
    longest_window_s=1.0,
    rounds=5,
    granularity=512,
    aborts_on_shortfall=False,
    delta_min_free=100,
    delta_max_size=0,
)


def writing(mib_per_s):
    rate = mib_per_s * MIB
    return appraisal.Measured(
        seconds=5.0,
        writes={
            'vda': outlook.Writes(
                bytes_per_s=rate, requests_per_s=rate / 65536
            )
        },
    )


class AppraisalTestCase(base.TestCase):
    def found(self, rules=None, **values):
        return appraisal.Appraisal(
            **{
                'guest': 'guest',
                'disks': (disk(),),
                'left_alone': (),
                'source': side(),
                'destination': side('host-b'),
                'unasked': '',
                **values,
            },
            rules=dataclasses.replace(RULES, **(rules or {})),
        )


class TestRefusals(AppraisalTestCase):
    def test_none(self):
        found = self.found()
        self.assertEqual((), found.refusals)
        self.assertEqual((), found.remarks)
        self.assertTrue(found.goes)

    def test_all_of_both_hosts_and_each_once(self):
        found = self.found(
            source=side(refusals=('one', 'two')),
            destination=side('host-b', refusals=('two', 'three')),
        )
        self.assertEqual(('one', 'two', 'three'), found.refusals)
        self.assertFalse(found.goes)

    def test_a_destination_that_was_not_asked(self):
        found = self.found(destination=None, unasked='it sleeps')
        self.assertEqual((), found.refusals)
        self.assertFalse(found.goes)

    def test_too_little_room_for_the_bases(self):
        found = self.found(
            destination=side('host-b', rooms=(room(511, 512), room(1, 1)))
        )
        (refusal,) = found.refusals
        self.assertIn('host-b has 511 MiB free for the bases', refusal)
        self.assertIn('512 MiB are needed', refusal)

    def test_room_that_may_not_last(self):
        found = self.found(
            destination=side('host-b', rooms=(room(600, 512, most=1024),))
        )
        self.assertEqual((), found.refusals)
        (remark,) = found.remarks
        self.assertIn('1024 MiB may be needed', remark)

    def test_a_guest_that_writes_too_fast_where_that_aborts(self):
        for aborts in (True, False):
            found = self.found(
                {'aborts_on_shortfall': aborts}, measured=writing(100)
            )
            self.assertEqual(aborts, bool(found.refusals))
            self.assertFalse(found.outlooks['limit'].converges)
        self.assertEqual((), self.found(measured=writing(1)).refusals)


class TestMode(AppraisalTestCase):
    def test_a_host_without_room_for_deltas(self):
        found = self.found(destination=side('host-b', unseeded=('no room',)))
        self.assertEqual((), found.refusals)
        self.assertIs(model.Mode.DIRECT, found.mode)
        (remark,) = found.remarks
        self.assertIn('direct, not seeded: no room', remark)
        self.assertEqual((), found.outlooks['limit'].rounds)

    def test_a_migration_that_is_direct_anyway(self):
        found = self.found({'mode': model.Mode.DIRECT})
        self.assertIs(model.Mode.DIRECT, found.mode)

    def test_deltas_that_outgrow_their_room(self):
        deltas = room(150, 0, 'the deltas')
        found = self.found(source=side(rooms=(deltas,)), measured=writing(8))
        (remark,) = found.remarks
        self.assertIn('the deltas grow to', remark)
        self.assertIn('150 MiB are free', remark)
        found = self.found(
            source=side(rooms=(room(190, 0),)), measured=writing(8)
        )
        self.assertEqual((), found.remarks)

    def test_deltas_that_outgrow_their_limit(self):
        for most, told in ((60, True), (70, False), (0, False)):
            found = self.found({'delta_max_size': most}, measured=writing(8))
            self.assertEqual(
                told, 'delta_max_size is 60 MiB' in ' '.join(found.remarks)
            )


class TestFigures(AppraisalTestCase):
    def test_the_rates(self):
        self.assertEqual(['limit'], list(self.found().outlooks))
        self.assertEqual({}, self.found({'limit': 0}).outlooks)
        found = self.found(destination=side('host-b', link_rate=16.0 * MIB))
        # a limit above the rate of the link has no effect
        self.assertEqual(
            {'limit': 16 * MIB, 'link': 16 * MIB},
            {name: each.rate for name, each in found.outlooks.items()},
        )

    def test_the_bytes_and_the_rounds(self):
        found = self.found(disks=(disk(), disk('vdb')), measured=writing(5))
        self.assertEqual(GIB, found.travel_bytes)
        rounds = found.outlooks['limit'].rounds
        self.assertEqual((GIB, 80 * MIB), rounds)

    def test_two_bits_for_each_unit_of_the_granularity(self):
        found = self.found()
        self.assertEqual({'vda': 512}, found.granularities)
        self.assertEqual(2 * GIB // 512 // 8, found.bitmap_bytes)

    def test_a_layered_base_has_the_clusters_as_its_units(self):
        layered = disk(image=samples.layered('/top', '/below'))
        self.assertEqual(
            {'vda': 65536}, self.found(disks=(layered,)).granularities
        )
        whole = dataclasses.replace(layered, whole=True)
        self.assertEqual(
            {'vda': 512}, self.found(disks=(whole,)).granularities
        )

    def test_the_choice_of_qemu_is_not_known(self):
        found = self.found({'granularity': 0})
        self.assertEqual(
            ({'vda': 0}, 0), (found.granularities, found.bitmap_bytes)
        )


class TestTravels(AppraisalTestCase):
    def test_over_the_channel(self):
        for value in (
            side(
                rooms=(room(1, 2),),
                ports=(appraisal.Port(purpose='x', address='y', fault='z'),),
                refusals=('one',),
            ),
            appraisal.Question(
                name='guest',
                peer='host-a',
                home=model.Endpoint(uri='qemu+tcp://192.0.2.1/system'),
                rehearsal=None,
                tls=True,
                mode=model.Mode.SEEDED,
                needs=(
                    appraisal.Need(
                        disk='vda',
                        path='/dev/vg/x',
                        kind=model.ImageKind.BLOCK,
                        size_bytes=1,
                        travel_bytes=1,
                    ),
                ),
            ),
        ):
            self.assertEqual(value, wire.unpack(wire.pack(value), type(value)))
