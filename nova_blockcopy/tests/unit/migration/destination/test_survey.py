# SPDX-License-Identifier: Apache-2.0
"""A destination looks at itself before a guest comes."""

import fixtures

from nova_blockcopy import appraisal
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import reach
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.migration.destination import trust
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.migration import world


class Suspicious(trust.Everything):
    def check_home(self, home):
        raise exception.Untrusted(host='host-b', reason='no.')


class Known(surroundings.Unknown):
    def address(self):
        return '192.0.2.2'

    def survey(self, guest, needs):
        assert guest == samples.UUID
        room = appraisal.Room(
            purpose='the bases',
            place='/b',
            free_bytes=1,
            needed_bytes=sum(need.size_bytes for need in needs),
        )
        return surroundings.Found(rooms=(room,), refusals=('no place.',))


class TestSurvey(world.WorldTestCase):
    disks = ('vda',)
    mode = model.Mode.SEEDED
    trusted: trust.Trust = trust.Everything()

    def setUp(self):
        super().setUp()
        self.tried: list[str] = []
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{reach.__name__}.check_source',
                lambda _host, uri, _timeout: self.tried.append(uri),
            )
        )

    def restart_destination(self):
        self.destination = dispatcher.Dispatcher(
            self.b.hypervisor('host-b'),
            self.host_settings('b'),
            self.trusted,
            Known(),
        )

    def appraised(self, **values):
        question = appraisal.Question(
            **{
                'name': 'guest',
                'peer': 'host-a',
                'home': model.Endpoint(uri=world.HOME),
                'rehearsal': None,
                'tls': False,
                'mode': self.mode,
                'needs': (
                    appraisal.Need(
                        disk='vda',
                        path='/x',
                        kind=model.ImageKind.FILE,
                        size_bytes=7,
                        travel_bytes=5,
                    ),
                ),
                **values,
            }
        )
        return self.remote().appraise(question, self.cancelled)

    def test_what_it_tells(self):
        found = self.appraised()
        self.assertEqual(
            ('host-b', '192.0.2.2', False),
            (found.host, found.address, found.tls),
        )
        self.assertEqual(('no place.',), found.refusals)
        self.assertEqual((), found.unseeded)
        bases, deltas = found.rooms
        self.assertEqual(('/b', 7), (bases.place, bases.needed_bytes))
        self.assertEqual(self.host_settings('b').delta_dir, deltas.place)
        self.assertEqual([world.HOME], self.tried)
        self.assertIsNone(self.record('b'))
        self.assertFalse((self.directory / 'b' / 'deltas').exists())

    def test_a_message_decides_nothing_about_connections(self):
        self.trusted = Suspicious()
        self.restart_destination()
        offered = model.Rehearsal(address='127.0.0.1', port=1, word='w')
        found = self.appraised(rehearsal=offered)
        self.assertEqual(((), []), (found.ports, self.tried))
        self.assertIn('refuses an order of the source', found.refusals[0])

    def test_a_port_that_is_not_for_exports(self):
        offered = model.Rehearsal(address='127.0.0.1', port=1, word='w')
        found = self.appraised(rehearsal=offered, measures=True)
        self.assertIn('port 1 is not for exports', found.ports[1].fault)
        self.assertEqual(0.0, found.link_rate)

    def test_seeded_mode_needs_more(self):
        self.options = {'delta_min_free': 2**40, 'export_tls': True}
        self.restart_destination()
        found = self.appraised(tls=True)
        self.assertIn('has no room', found.unseeded[0])
        self.assertTrue(any('ca-cert.pem' in e for e in found.refusals))
        found = self.appraised(tls=True, mode=model.Mode.DIRECT)
        self.assertEqual((), found.unseeded)
        self.assertEqual(('no place.',), found.refusals)

    def test_programs_that_are_too_old(self):
        self.b.emulator = plan.MINIMUM.hypervisor - 1
        self.assertIn('QEMU', self.appraised().refusals[0])
