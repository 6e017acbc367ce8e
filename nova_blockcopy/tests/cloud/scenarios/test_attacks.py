# SPDX-License-Identifier: Apache-2.0
"""A compute host that was taken over, and what it can do to another one.

The messages go over the real RabbitMQ to a real nova-compute, which is an
ordinary user and has a real helper that is root.
"""

import contextlib
import hashlib
import json
import pathlib
import stat
import typing
from collections.abc import Iterator

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import impostor
from nova_blockcopy.tests.cloud import liar
from nova_blockcopy.tests.cloud import user
from nova_blockcopy.tests.cloud.scenarios import ends

_VICTIM = '99999999-1111-2222-3333-444444444444'
_SECRET = str(hosts.STATE / 'secret')
_OTHERS_DISK = str(hosts.STATE / 'instances' / _VICTIM / 'disk')
_EVIL = {'uri': 'qemu+ext://h/system?command=/tmp/evil', 'migrate_uri': ''}
_ID = 'evil-1'
#: What a source says about an answer that is a lie.
_DIFFERS = 'differs. Nothing was changed'
#: Larger files are told apart by their times.
_SMALL = 1 << 20


def _facts(path: pathlib.Path, but: set[str]) -> tuple[object, ...]:
    found = path.lstat()
    content: object = found.st_mtime_ns
    if stat.S_ISREG(found.st_mode) and found.st_size <= _SMALL:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISDIR(found.st_mode):
        content = sorted({each.name for each in path.iterdir()} - but)
    return found.st_mode, found.st_uid, found.st_gid, found.st_size, content


class AttackTestCase(ends.EndsTestCase):
    options: typing.ClassVar = {
        **ends.EndsTestCase.options,
        'blockcopy': {'mode': 'seeded'},
    }

    def setUp(self):
        super().setUp()
        self.here, self.there = self.cloud.computes
        self.secret = self.there.state / 'secret'
        self.secret.write_bytes(b'only for root')
        self.secret.chmod(0o600)
        self.addCleanup(self.secret.unlink)
        self.guest = self.boot()


class TestImpostor(AttackTestCase):
    """In the name of the source."""

    def setUp(self):
        super().setUp()
        self.impostor = self.useFixture(impostor.Impostor(self.here.host))
        address = self.here.host.address
        self.home = {
            'uri': f'qemu+tcp://{address}/system',
            'migrate_uri': f'tcp://{address}',
        }

    # -- the messages ----------------------------------------------------

    def refused(self, sentence, operation, **values):
        """The other host refuses an order by an error of ours."""
        message = {
            'operation': operation,
            'guest': self.guest.uuid,
            'migration': _ID,
            **values,
        }
        error = self.impostor.order(self.there.name, **message)
        if error is None:
            raise AssertionError(f'{message} was carried out')
        self.assertIn(sentence, error['message'], str(message))
        self.assertNotEqual('TaskFailed', error['class'], str(error))

    def prepare(self, path=_SECRET, disk='vda', **changes):
        image = {
            'path': '/dev/x',
            'kind': 'block',
            'format': 'raw',
            'backing': None,
        }
        known = {
            'name': 'guest',
            'peer': self.here.name,
            'boot': '',
            'home': self.home,
            'rehearsal': None,
            'xml': '',
            'disks': [
                {
                    'disk': disk,
                    'image': image,
                    'size_bytes': 1 << 20,
                    'identity': {'boot': 'b', 'device': 1, 'inode': 2},
                    'backing_digest': None,
                    'direct': False,
                }
            ],
            'bases': {disk: {'path': path, 'format': None, 'whole': False}},
            'left_alone': {},
            'tls': False,
            'mode': 'seeded',
            'dry_run': False,
        }
        return {**known, **changes}

    def seed(self, path=_SECRET, disk='vda', extents=(), **changes):
        image = {
            'path': path,
            'kind': 'file',
            'format': 'raw',
            'backing': None,
        }
        export = {
            'disk': disk,
            'address': self.here.host.address,
            'port': 49216,
            'name': 'evil',
            'size_bytes': 13,
            'pid': 1,
            'content': False,
            'writable': False,
            'tls': False,
        }
        return {
            'disk': disk,
            'source': image,
            'target': image,
            'export': {**export, **changes},
            'extents': list(extents),
            'size_bytes': changes.get('size_bytes', 13),
            'afresh': True,
            'delta': False,
        }

    # -- the host --------------------------------------------------------

    @contextlib.contextmanager
    def victim(self) -> Iterator[None]:
        """Another instance has files on the destination."""
        directory = self.there.path(_VICTIM)
        directory.mkdir()
        for name in ('disk', 'disk.config'):
            (directory / name).write_bytes(f'{name} of another'.encode())
        user.own(directory, *directory.iterdir())
        try:
            yield
        finally:
            for each in directory.iterdir():
                each.unlink()
            directory.rmdir()

    def picture(self, *but: str) -> dict[str, tuple[object, ...]]:
        """All files of nova-compute on the destination."""
        # a lock is made when a guest is looked at for the first time
        passed = {'locks', 'lock', *but}
        return {
            str(path): _facts(path, passed)
            for root in (self.there.state, self.there.path())
            for path in root.rglob('*')
            if not set(path.parts) & passed
        }

    @contextlib.contextmanager
    def unharmed(self, *but: str) -> Iterator[None]:
        """Neither a file of the host nor its nova-compute changes.

        :param but: names that may
        """
        process = self.there.service.process
        before = self.picture(*but)
        yield
        self.assertEqual(before, self.picture(*but))
        self.assertEqual(process, self.there.service.process)

    # -- the attacks -----------------------------------------------------

    def test_out_of_the_blue(self):
        with self.victim(), self.unharmed():
            self.attack_files()
            self.attack_names()
            self.attack_others()
        self.move(self.guest, self.there)

    def attack_files(self):
        """Have root read or write files, or go somewhere."""
        for path in (_SECRET, '/etc/shadow', _OTHERS_DISK):
            seed = self.seed(path)
            self.refused(
                'has no record of migration', 'digest', seed=seed, wanted=[]
            )
            self.refused(
                'has no record of migration', 'seed', seeds=[seed], bandwidth=0
            )
            self.refused('has no record of migration', 'apply', seeds=[seed])
        self.assertEqual(b'only for root', self.secret.read_bytes())
        for path in (
            *(_SECRET, '/etc/shadow', _OTHERS_DISK, f'/dev/{hosts.GROUP}/x'),
            'nbd://10.98.0.1:10809/x',
            'json:{"driver":"nbd","host":"10.98.0.1"}',
            *('--help', '-', '/proc/self/mem', '../../../etc/shadow'),
        ):
            self.refused(
                f'has not had {path} made', 'prepare', **self.prepare(path)
            )
        self.refused(
            'is not how this host reaches',
            'prepare',
            **self.prepare(home=_EVIL),
        )
        give_back = {'boot': '', 'live_xml': '<x/>', 'persistent_xml': ''}
        for uri in (_EVIL['uri'], 'qemu+tcp://127.0.0.1/system', '--help'):
            self.refused(
                'is not how this host reaches',
                'give_back',
                endpoint={'uri': uri, 'migrate_uri': ''},
                **give_back,
            )

    def attack_names(self):
        """Lead to other directories, or say nothing that is understood."""
        strange: tuple[typing.Any, ...] = (7, None, ['x'])
        for name in ('../../../etc/passwd', f'{_VICTIM}/..', *strange):
            for operation in ('status', 'discard', 'config_drive', 'guarded'):
                self.refused(
                    'is not understood', operation, guest=name, content=''
                )
        for name in ('../../etc/passwd', 'a/b', '', 'x' * 65, *strange):
            self.refused('is not understood', 'status', migration=name)
        self.refused(
            'is not understood',
            'prepare',
            **self.prepare(disk='../../../../etc/cron.d/x'),
        )
        for operation in ('explode', '__init__', '_open', ''):
            self.refused('does not know this operation', operation)
        self.refused('is not understood', 'prepare')

    def attack_others(self):
        """Harm instances that nobody migrates, or this one."""
        for guest in (_VICTIM, self.guest.uuid):
            self.refused(
                'has not prepared this host',
                'config_drive',
                guest=guest,
                content='ZXZpbA==',
            )
        self.refused('is not deleted', 'remove_deleted')
        for operation in ('pivot', 'copy', 'qemu_log', 'received'):
            values: dict[str, dict[str, typing.Any]] = {
                'pivot': {'without_source': True, 'again': False},
                'copy': {
                    'persistent_xml': '<x/>',
                    'bandwidth': 0,
                    'synchronous_writes': False,
                    'guest_bandwidth': 0,
                },
            }
            self.refused(
                'has no record of migration',
                operation,
                **values.get(operation, {}),
            )

    def test_while_nova_migrates_the_guest(self):
        """The source stands still, and the impostor has its place."""
        with self.victim():
            record = self.hold()
            with self.unharmed(f'{self.guest.uuid}.json'):
                self.attack_migration(record)
                self.attack_beside(record)
            self._thaw(self.here)
            # the source hears of the refused orders, and takes its guest back
            self.guest.wait_for_migration('failed', 'completed')
        self.assert_intact(self.guest, self.guest.at)
        self.assert_nothing_left(self.guest.at)
        self.move(self.guest, self.other(self.guest.at))

    def hold(self):
        """Stop the source in the middle; return the other host's journal."""
        self.guest.live_migrate(self.there)
        self.wait_for_state(self.guest, self.here, 'seeding')
        self._freeze(self.here)
        self.addCleanup(self._thaw_all)
        path = self._journal(self.guest, self.there)
        record = json.loads(path.read_text())
        about = (self.there.name, self.guest.uuid, record['migration'])
        self.assertTrue(
            waiting.until(
                lambda: bool(self.impostor.task(*about)['done']), timeout=60
            )
        )
        return record

    def _thaw_all(self):
        for each in self.cloud.computes:
            process = each.service.process
            if process is not None:
                process.resume()

    def attack_migration(self, record):
        """With the id of the migration, and with disks that move."""
        (move, *_others) = record['moves']
        size = move['size_bytes']
        about = {'migration': record['migration']}
        disk = move['disk']

        def both(sentence, **changes):
            seed = self.seed(**{'disk': disk, 'size_bytes': size, **changes})
            brief = {**seed, 'extents': []}
            if not changes.get('extents'):
                self.refused(
                    sentence, 'digest', seed=brief, wanted=[], **about
                )
            self.refused(sentence, 'seed', seeds=[seed], bandwidth=0, **about)

        for name in ('../../../etc/cron.d/x', 'vdz'):
            both('does not move', disk=name)
        both('export_tls is off here', tls=True)
        for address in ('127.0.0.1', '::1', '169.254.169.254', 'localhost'):
            both('cannot be the address', address=address)
        for port in (22, 16509, 49344):
            both('is not for exports', port=port)
        both('bytes, and the export', size_bytes=1 << 50)
        both('extent ends at', extents=[{'offset': 0, 'length': 1 << 50}])
        both('is not understood', extents=[{'offset': -1, 'length': 5}])
        self.attack_memory(about, self.seed(disk=disk, size_bytes=size))
        self.refused(
            'is not how this host reaches',
            'give_back',
            endpoint=_EVIL,
            **{'boot': '', 'live_xml': '', 'persistent_xml': '', **about},
        )

    def attack_memory(self, about, seed):
        for wanted in (
            [{'offset': 0, 'length': 1 << 30}],
            [{'offset': 0, 'length': 1}] * 1025,
        ):
            self.refused(
                'but may ask for', 'digest', seed=seed, wanted=wanted, **about
            )

    def attack_beside(self, record):
        """Under another id, with what Nova has had made for this guest."""
        bases = {
            move['disk']: {
                'path': move['base']['path'],
                'format': None,
                'whole': False,
            }
            for move in record['moves']
        }
        disk, base = next(iter(bases.items()))
        self.refused(
            'has not had',
            'prepare',
            **self.prepare(base['path'], disk, peer='another-host'),
        )
        self.refused(
            '/etc/shadow is in none of',
            'prepare',
            **self.prepare(
                base['path'], disk, left_alone={'vdz': '/etc/shadow'}
            ),
        )
        for sentence, address, port in (
            ('cannot be the address', '127.0.0.1', 49216),
            ('is not for exports', self.here.host.address, 22),
        ):
            offered = {'address': address, 'port': port, 'word': 'SSH-2.0'}
            self.refused(
                sentence,
                'prepare',
                **self.prepare(base['path'], disk, rehearsal=offered),
            )
        self.refused(
            'has not prepared this host', 'config_drive', content='ZXZpbA=='
        )


class TestLiar(AttackTestCase):
    """A destination whose answers are lies."""

    def test_each_lie(self):
        self.addCleanup(self.there.restart)
        self.there.stop()
        lying = liar.taken_over(self.there)
        liar.tell(self.there, next(iter(liar.LIES)))
        self.addCleanup((self.there.state / 'lie').unlink)
        lying.start()
        lying.wait()
        self.there.wait()
        seen = 0
        for lie in liar.LIES:
            liar.tell(self.there, lie)
            # Nova has the bases of the last attempt removed by a cast
            self.assertTrue(
                waiting.until(
                    lambda: not self.there.volumes.names(), timeout=60
                )
            )
            self.guest.live_migrate(self.there)
            self.guest.wait_for_migration('failed', 'error')
            self.assertEqual('ACTIVE', self.guest.status, lie)
            self.assertEqual([self.here.name], self.guest.runs_on(), lie)
            told = self.here.service.output().count(_DIFFERS)
            self.assertGreater(told, seen, lie)
            seen = told
        self.there.restart()
        self.assert_at_home(self.guest)
        self.move(self.guest, self.there)
