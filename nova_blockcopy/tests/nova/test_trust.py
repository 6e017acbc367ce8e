# SPDX-License-Identifier: Apache-2.0
"""Messages of a compute host that has been taken over."""

import os

import ddt

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import service
from nova_blockcopy.nova import trust
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.unit import samples


class TrustTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.base = self.directory / 'base'
        self.base.touch()
        self.begin()

    def begin(self):
        """Start nova-compute."""
        self.engine = self.service()
        self.trust = trust.Trust(
            *(base.HERE, self.engine.preparations, base.endpoint_of),
            service._places(),
        )

    def refused(self, call, *arguments):
        error = self.assertRaises(exception.Untrusted, call, *arguments)
        return str(error)


class TestBases(TrustTestCase):
    def make(self):
        """Have Nova make a base for a guest of the other host."""
        with self.engine.preparations.begun(samples.UUID):
            self.engine.preparations.make_bases(
                base.instance(host=base.THERE),
                str(self.instances),
                [
                    {
                        'path': '/there/disk',
                        'type': 'qcow2',
                        'virt_disk_size': 2**20,
                        'backing_file': '',
                    }
                ],
            )
        return str(self.instances / 'disk')

    def check(self, *paths, source=base.THERE):
        self.trust.check_bases(samples.UUID, source, paths)

    def test_what_nova_has_had_made(self):
        self.check(self.make())

    def test_an_image_of_another_guest(self):
        made, other = self.make(), '/instances/other/disk'
        said = self.refused(self.check, made, other)
        self.assertIn(other, said)

    def test_a_guest_that_nova_sends_from_elsewhere(self):
        made = self.make()
        said = self.refused(lambda: self.check(made, source='host-x'))
        self.assertIn('host-x', said)

    def test_a_guest_that_nova_does_not_send(self):
        self.refused(self.check, str(self.base))

    def test_the_note_is_enough_after_a_restart(self):
        made = self.make()
        self.begin()
        self.check(made)

    def test_a_second_attempt_after_the_journal_has_taken_over(self):
        made = self.make()
        self.engine.expected.forget(samples.UUID)
        self.check(made)

    def test_bases_that_the_guest_uses(self):
        made = self.make()
        self.engine.expected.forget(samples.UUID)
        message = {
            'operation': 'finish',
            'guest': samples.UUID,
            'migration': 'm1',
            'keep': True,
        }
        self.assertNotIn('error', self.engine.answer(message))
        self.refused(self.check, made)

    def test_bases_that_nova_has_removed(self):
        made = self.make()
        self.engine.forget_bases(samples.UUID)
        self.refused(self.check, made)


@ddt.ddt
class TestHome(TrustTestCase):
    @ddt.data('host-b', 'Host_7', '192.0.2.7', 'b.example.org', '2001:db8::7')
    def test_where_this_host_would_go(self, address):
        self.trust.check_home(base.endpoint_of(address))

    @ddt.data('host-b', '2001:db8::7')
    def test_by_a_template_of_the_administrator(self, address):
        self.conf.config(
            group='libvirt',
            live_migration_uri='qemu+ssh://nova@%s:2222/system?no_tty=1',
        )
        there = self.make_driver()
        driven = trust.Trust(
            *(base.HERE, self.engine.preparations, there._endpoint, ()),
        )
        driven.check_home(there._endpoint(address))
        self.refused(driven.check_home, base.endpoint_of(address))

    @ddt.data(
        'qemu+ext://host-b/system?command=/tmp/evil',
        'qemu+tcp://host-b/system?command=/tmp/evil',
        'qemu+ssh://host-b/system',
        'qemu+tcp://-oProxyCommand=evil/system',
        'qemu+tcp://root@host-b/system',
        'qemu+tcp://host-b:1234/system',
        'qemu+unix:///system?socket=/tmp/evil',
        'test:///default',
        # this host itself, and the services that a cloud has there
        'qemu+tcp://127.0.0.1/system',
        'qemu+tcp://[::1]/system',
        'qemu+tcp://localhost/system',
        'qemu+tcp://169.254.169.254/system',
        'qemu+tcp://0x7f000001/system',
        '',
    )
    def test_another_way(self, uri):
        said = self.refused(self.trust.check_home, model.Endpoint(uri=uri))
        self.assertIn(repr(uri), said)

    def test_memory_that_goes_elsewhere(self):
        home = model.Endpoint(
            uri=base.endpoint_of('host-b').uri, migrate_uri='tcp://evil'
        )
        self.assertIn('evil', self.refused(self.trust.check_home, home))


@ddt.ddt
class TestLeftAlone(TrustTestCase):
    @ddt.data('/dev/disk/by-id/x', '{}/{}/disk.config', '{}/../mnt/x/volume')
    def test_where_nova_has_disks(self, path):
        path = path.format(self.instances, samples.UUID)
        self.trust.check_left_alone([os.path.normpath(path)])

    @ddt.data('/etc/shadow', '/dev/../etc/shadow', '{}-other', 'dev/x', '')
    def test_elsewhere(self, path):
        path = path.format(self.instances)
        said = self.refused(self.trust.check_left_alone, ['/dev/x', path])
        self.assertIn(f'{path} is in none of', said)


class TestMessages(TrustTestCase):
    """The service asks before it does anything."""

    def test_a_base_that_nova_has_not_had_made(self):
        home = base.endpoint_of('host-b')
        answer = self.engine.answer(
            {
                'operation': 'prepare',
                'guest': samples.UUID,
                'migration': 'm1',
                'name': 'guest',
                'peer': base.THERE,
                'boot': '',
                'home': {'uri': home.uri, 'migrate_uri': ''},
                'rehearsal': None,
                'xml': '',
                'disks': [],
                'bases': {
                    'vda': {
                        'path': str(self.base),
                        'format': None,
                        'whole': False,
                    }
                },
                'left_alone': {},
                'tls': False,
                'mode': 'direct',
                'dry_run': False,
            }
        )
        self.assertEqual({}, answer)
        failure = None
        while failure is None:
            status = self.engine.answer(
                {
                    'operation': 'status',
                    'guest': samples.UUID,
                    'migration': 'm1',
                }
            )
            failure = status['task']['failure']
        self.assertEqual('Untrusted', failure['class'])
        self.assertIn(str(self.base), failure['message'])
