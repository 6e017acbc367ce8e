# SPDX-License-Identifier: Apache-2.0
"""``nova-blockcopy`` shows, steers and settles real migrations."""

import concurrent.futures
import fcntl
import functools
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.migration import control
from nova_blockcopy.records import journal
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.functional import base
from nova_blockcopy.tests.lab import engine

State = states.State
_SLOW, _OLD, _NEW = 3, 8, 16
#: A row of the display, without the codes of the terminal.
_ROW = re.compile(
    r'(vd[a-z]) [^\d%]*(\d+)% +([\d.]+)(\w+)/([\d.]+)(\w+) +'
    r'([\d.]+) (\w+)/s +(-|\d+s|\d+m\d\ds)'
)
_CODES = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')
_BYTES = {'B': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30}


class CommandTestCase(base.TestCase):
    #: ``block_migration_bandwidth`` in nova.conf.
    limit = 0

    def argv(self, at, *arguments):
        """The command on a host, with that host's nova.conf."""
        path = at.home / 'nova.conf'
        at.outside(path).write_text(
            f'[DEFAULT]\nhost = {at.hostname}\nstate_path = {at.home}\n'
            f'[libvirt]\nconnection_uri = {at.uri}\n'
            f'live_migration_uri = qemu+tcp://%s/system\n'
            f'live_migration_inbound_addr = {at.address}\n'
            f'block_migration_bandwidth = {self.limit}\n'
            f'[blockcopy]\nallow_plaintext = true\n'
            f'journal_dir = {at.home / "journal"}\n'
            f'delta_dir = {at.home / "deltas"}\ndelta_min_free = 64\n'
            f'export_address = {at.address}\npoll_interval = 0.1\n'
        )
        shell = ('-m', 'nova_blockcopy.cli.shell', '--config-file', str(path))
        return sys.executable, *shell, *arguments

    def command(self, at, *arguments):
        """Run the command on a host; the process that has ended."""
        return at.run(*self.argv(at, *arguments), check=False)

    def done(self, at, *arguments):
        """Run a command that succeeds; what it prints."""
        ended = self.command(at, *arguments)
        self.assertEqual(0, ended.returncode, ended.stderr + ended.stdout)
        return ended.stdout

    def shown(self, at, made):
        return json.loads(self.done(at, 'show', made.guest.uuid, '-f', 'json'))

    def record(self, at, made):
        directory = str(at.outside(at.home / 'journal'))
        return journal.Journal(directory).find(made.guest.uuid)


class Held:
    """A migration on a thread that waits in one state for the test."""

    def __init__(self, made, state, **options):
        self._state = state
        self._reached = threading.Event()
        self._go_on = threading.Event()
        self.moving = made.migration(self._listen, **options)
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._run = self._pool.submit(made.run, self.moving)

    def _listen(self, now):
        if now.state is self._state and not self._reached.is_set():
            self._reached.set()
            self._go_on.wait(60)

    def wait(self):
        if not self._reached.wait(120):
            raise AssertionError(self._run.exception(0))

    def go_on(self):
        self._go_on.set()

    def end(self):
        """Return the error of the migration, or None."""
        self.go_on()
        error = self._run.exception(300)
        self._pool.shutdown()
        return error


class TestRunning(CommandTestCase):
    def start(self, state=State.SEEDING, limit=_OLD, **options):
        made = self.set_scene(
            *('block', 'layered'),
            size=96 * base.MIB,
            data=64 * base.MIB,
            block_migration_bandwidth=limit,
            **options,
        )
        held = Held(made, state)
        self.addCleanup(held.go_on)
        return made, held

    def test_both_hosts_list_and_show_it(self):
        made, held = self.start(limit=_SLOW)
        held.wait()
        held.go_on()
        for at, side in ((made.home, 'source'), (made.away, 'destination')):
            seen = functools.partial(self.figures, at, made)
            self.assertTrue(waiting.until(seen, timeout=60))
            (row,) = json.loads(self.done(at, 'list', '-f', 'json'))
            self.assertEqual(
                (made.guest.uuid, made.guest.name, side, 'seeding'),
                (row['Instance'], row['Name'], row['Side'], row['State']),
            )
            shown = self.shown(at, made)
            self.assertEqual('at work', shown['engine'])
            self.assertEqual(_SLOW * base.MIB, shown['limit'])
            exports = [each['alive'] for each in shown['exports']]
            self.assertEqual(
                {'source': 2, 'destination': 0}[side], len(exports)
            )
            self.assertTrue(all(exports))
            self.assertIn('source', shown['authoritative_copy'])
            self.assertEqual(
                ['vda', 'vdb'], [each['disk'] for each in shown['disks']]
            )
        held.moving.set_bandwidth(0)
        self.assertIsNone(held.end())
        self.assert_intact(made, self.lab.b)
        for at in self.lab.hosts:
            self.assertEqual([], json.loads(self.done(at, 'list', '-fjson')))
            self.assertEqual(
                3, self.command(at, 'show', made.guest.name).returncode
            )

    def figures(self, at, made):
        shown = self.shown(at, made)
        return shown['copied'] and shown['rate'] and shown['time_left']

    def test_a_limit_while_seeding(self):
        made, held = self.start()
        held.wait()
        held.go_on()
        said = self.done(made.home, 'limit', made.guest.name, str(_NEW))
        self.assertIn(f'{_NEW}.0 MiB/s', said)
        for at in self.lab.hosts:
            known = functools.partial(self.knows_limit, at, made)
            self.assertTrue(waiting.until(known, timeout=30))
        self.assertIsNone(held.end())
        self.assert_intact(made, self.lab.b)

    def knows_limit(self, at, made):
        return self.shown(at, made)['limit'] == _NEW * base.MIB

    def test_a_limit_while_copying_is_libvirts(self):
        made, held = self.start(State.COPYING, mode='direct')
        held.wait()
        held.go_on()
        self.done(made.home, 'limit', made.guest.uuid, str(_NEW))
        self.assertTrue(
            waiting.until(
                lambda: self.libvirts_limit(made) >= _NEW - 1, timeout=30
            )
        )
        self.assertIsNone(held.end())
        self.assert_intact(made, self.lab.b)

    def libvirts_limit(self, made):
        """The sum of the limits of all copies, in MiB/s."""
        connection = made.away.connect()
        try:
            domain = connection.lookupByUUIDString(made.guest.uuid)
            jobs = [domain.blockJobInfo(disk) for disk in made.guest.targets]
        finally:
            connection.close()
        return sum(job.get('bandwidth', 0) for job in jobs)

    def test_the_destination_names_the_host_for_orders(self):
        made, held = self.start()
        held.wait()
        for order in (('limit', '5'), ('abort',), ('settle',)):
            name, *more = order
            ended = self.command(made.away, name, made.guest.uuid, *more)
            self.assertEqual(1, ended.returncode)
            self.assertIn('Run this command on', ended.stderr)
            self.assertIn(made.home.hostname, ended.stderr)
        for words in (
            ('settle',),
            ('adopt', '--here', '--yes'),
            ('abandon', '--yes'),
        ):
            ended = self.command(made.home, *words, made.guest.uuid)
            self.assertEqual(1, ended.returncode, ended.stdout)
        self.assertIsNone(held.end())

    def test_an_abort(self):
        made, held = self.start()
        held.wait()
        held.go_on()
        said = self.done(made.home, 'abort', made.guest.uuid)
        self.assertIn('The migration was undone', said)
        error = held.end()
        self.assertIsInstance(error, exception.MigrationUndone)
        self.assertIsInstance(error.__cause__, exception.Aborted)
        self.assert_intact(made, self.lab.a)

    def test_it_is_watched_in_80_columns(self):
        made, held = self.start()
        held.wait()
        screen = self.watched(made, held)
        rows = [_ROW.search(line) for line in screen]
        found = [row for row in rows if row]
        self.assertLess(10, len(found), screen[-40:])
        for row, line in zip(rows, screen, strict=True):
            self.assertLessEqual(len(line), 80, line)
            self.assertNotIn('?', line)
            self.assertTrue(row or '%' not in line, line)
        for disk in ('vda', 'vdb'):
            of = [row for row in found if row[1] == disk]
            done = [float(row[3]) * _BYTES[row[4]] for row in of]
            total = [float(row[5]) * _BYTES[row[6]] for row in of]
            self.assertEqual(sorted(done), done)
            for n in range(1, len(of)):
                if total[n] == total[n - 1]:
                    self.assertLessEqual(int(of[n - 1][2]), int(of[n][2]))
            rates = [float(row[7]) * _BYTES[row[8]] for row in of]
            # a delta is too small to be limited, and one piece may be ahead
            self.assertLess(max(rates), 2 * _OLD * base.MIB)
        # the last rows stay below it
        self.assertIn('has ended', ' '.join(screen))
        self.assert_intact(made, self.lab.b)

    def watched(self, made, held):
        """Run ``watch`` in a terminal; the lines that it has drawn."""
        parent, child = pty.openpty()
        fcntl.ioctl(
            child, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0)
        )
        watch = made.home.call(
            subprocess.Popen,
            [*made.home._inside(), *self.argv(made.home, 'watch')],
            stdin=child,
            stdout=child,
            stderr=child,
            env={**os.environ, 'TERM': 'xterm-256color', 'LANG': 'C.UTF-8'},
        )
        os.close(child)
        drawn = b''
        started = False
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:  # the command has ended
                break
            drawn += piece
            if not started:
                started = True
                held.go_on()
        os.close(parent)
        self.assertEqual(0, watch.wait(60))
        self.assertIsNone(held.end())
        text = _CODES.sub('', drawn.decode())
        return [
            line.rstrip()
            for line in re.split(r'[\r\n]+', text)
            if line.strip()
        ]

    def test_without_a_terminal_it_prints_lines(self):
        made, held = self.start()
        held.wait()
        threading.Timer(2.0, held.go_on).start()
        said = self.done(made.home, 'watch', made.guest.uuid)
        self.assertIsNone(held.end())
        self.assertIn('seeding: the disks are copied', said)
        self.assertNotIn('\x1b', said)
        self.assertIn(f'The migration of {made.guest.name} has ended.', said)


class TestLeft(CommandTestCase):
    """A migration whose engine was killed, and what a person can do."""

    def left(self, state, *kinds, **options):
        made = self.set_scene(
            *(kinds or ('block', 'layered')),
            block_migration_bandwidth=64,
            **options,
        )
        self.assertTrue(engine.killed_in(made, state))
        return made

    def test_nova_compute_is_asked_to_settle_it(self):
        made = self.left(State.SEEDING)
        answers = iter([False, True])

        def obey(message):
            if message.get('operation') != control.SETTLE:
                return {}
            settled = next(answers)
            return {'settled': settled and made.settle() is not None}

        away = self.command(made.home, 'settle', made.guest.uuid)
        # there is no Nova here that could do it instead
        self.assertEqual(1, away.returncode)
        self.assertIn('Missing: ', away.stderr)
        self.assertIn('Source (this host): complete', away.stdout)
        directory = str(made.home.outside(made.home.home / 'journal'))
        with control.listening(directory, control.SERVICE, obey):
            ended = self.command(made.home, 'settle', made.guest.uuid)
            self.assertEqual(1, ended.returncode)
            self.assertIn('not settled yet', ended.stderr)
            said = self.done(made.home, 'settle', made.guest.uuid)
        self.assertIn('is settled', said)
        self.assert_intact(made, self.lab.a)

    def test_the_source_goes_on_without_the_destination(self):
        made = self.left(State.SEEDING)
        adopt = ('adopt', '--here', made.guest.uuid)
        self.assertEqual(5, self.command(made.home, *adopt).returncode)
        self.done(made.home, *adopt, '--yes')
        self.assertIsNone(self.record(made.home, made))
        self.assertIsNotNone(self.record(made.away, made))
        self.done(made.away, 'abandon', made.guest.uuid, '--yes')
        self.assertIs(State.SETTLED, self.record(made.away, made).state)
        self.close(made.away, made)
        self.assert_intact(made, self.lab.a)

    def close(self, at, made):
        """Do what nova-compute does when Nova has removed the bases."""
        directory = str(at.outside(at.home / 'journal'))
        journal.Journal(directory).close(made.guest.uuid)

    def test_a_guest_that_runs_over_there_is_not_adopted(self):
        made = self.left(State.COPYING)
        for fenced in ((), ('--fenced',)):
            ended = self.command(
                made.home,
                *('adopt', '--here', '--yes', made.guest.uuid),
                *fenced,
            )
            self.assertEqual(1, ended.returncode)
            self.assertIn('it runs there', ended.stderr)
        for at in self.lab.hosts:
            ended = self.command(at, 'abandon', '--yes', made.guest.uuid)
            self.assertEqual(1, ended.returncode, ended.stdout)
        self.assertIsNotNone(made.settle())
        self.assert_intact(made, self.lab.a)

    def test_the_destination_goes_on_without_the_source(self):
        made = self.left(State.RELEASING)
        self.done(made.away, 'adopt', '--here', '--yes', made.guest.uuid)
        record = self.record(made.away, made)
        self.assertEqual(
            (State.SETTLED, 'destination'), (record.state, record.authority)
        )
        # the source was killed before it noted the proof, so it has to ask
        ended = self.command(
            made.home, 'abandon', '--yes', '--fenced', made.guest.uuid
        )
        self.assertEqual(1, ended.returncode, ended.stdout)
        self.assertIn('nothing proves', ended.stderr)
        self.assertEqual(model.Role.DESTINATION, made.settle())
        self.assert_intact(made, self.lab.b)

    def test_complete_bases_are_adopted_before_any_pivot(self):
        made = self.left(State.READY, 'block', 'layered', mode='direct')
        made.guest.hush(self.lab.b)
        self.assertTrue(waiting.until(lambda: self.adopted(made), timeout=60))
        made.guest.let_go(self.lab.b)
        self.assertEqual(model.Role.DESTINATION, made.settle())
        self.assert_intact(made, self.lab.b)

    def adopted(self, made):
        ended = self.command(
            made.away, 'adopt', '--here', '--yes', made.guest.uuid
        )
        return ended.returncode == 0
