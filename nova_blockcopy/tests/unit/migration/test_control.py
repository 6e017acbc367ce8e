# SPDX-License-Identifier: Apache-2.0
"""Orders reach the engine from another process, or are refused at once."""

import os
import stat
import subprocess
import threading

from nova_blockcopy import exception
from nova_blockcopy.migration import control
from nova_blockcopy.migration import peer
from nova_blockcopy.tests.unit import base

ORDER = {'operation': 'limit', 'mib_per_s': 5}


class TestControl(base.TestCase):
    def setUp(self):
        super().setUp()
        # longer than an address of a socket may be
        self.place = str(self.directory / ('long' * 30))

    def listening(self, handle=lambda message: {'got': message}):
        return control.listening(self.place, 'guest', handle)

    def call(self, message=ORDER, timeout=30.0):
        return control.Local(self.place, 'guest', timeout).call(message)

    def test_an_order_and_its_answer(self):
        with self.listening():
            self.assertEqual({'got': ORDER}, self.call())
            self.assertEqual({'got': {}}, self.call({}))

    def test_whether_somebody_listens(self):
        with self.listening(lambda _message: self.fail('it was no order')):
            self.assertTrue(control.attended(self.place, 'guest'))
            self.assertFalse(control.attended(self.place, 'other'))
        self.assertFalse(control.attended(self.place, 'guest'))

    def test_an_error_is_an_answer(self):
        def fail():
            raise exception.InvalidOption(option='x', reason='too large')

        with self.listening(lambda _order: peer.answered('limit', fail)):
            self.assertRaises(
                exception.InvalidOption,
                peer.ask,
                control.Local(self.place, 'guest', 30.0),
                'limit',
                'guest',
            )

    def test_nobody_listens(self):
        self.assertRaises(exception.NoEngine, self.call)
        with self.listening():
            pass
        self.assertRaises(exception.NoEngine, self.call)

    def test_the_socket_of_a_killed_process_is_no_engine(self):
        held = self.listening()
        held.__enter__()
        path = os.path.join(self.place, 'control', 'guest')
        os.link(path, f'{path}.kept')
        held.__exit__(None, None, None)
        os.rename(f'{path}.kept', path)
        self.assertRaises(exception.NoEngine, self.call)
        with self.listening():
            self.assertEqual({'got': ORDER}, self.call())
        self.assertFalse(os.path.lexists(path))

    def test_no_thread_waits_at_a_socket_that_is_closed(self):
        """The next program that is started may get the same descriptor."""
        with self.listening():
            serving = self.serving()
            self.assertEqual(1, len(serving))
        self.assertEqual([], self.serving())
        child = subprocess.Popen(['true'])
        self.assertEqual(0, child.wait(30))

    def serving(self):
        return [
            each
            for each in threading.enumerate()
            if each.name == 'blockcopy-control-guest'
        ]

    def test_nobody_else_may_order(self):
        with self.listening():
            path = os.path.join(self.place, 'control', 'guest')
            for each, mode in ((path, 0o600), (os.path.dirname(path), 0o700)):
                self.assertEqual(mode, stat.S_IMODE(os.stat(each).st_mode))

    def test_an_order_does_not_wait_for_another(self):
        started, go_on = threading.Event(), threading.Event()

        def handle(message):
            if message['operation'] == 'limit':
                started.set()
                go_on.wait(30)
            return {'done': message['operation']}

        with self.listening(handle):
            slow = threading.Thread(target=self.call)
            slow.start()
            self.assertTrue(started.wait(30))
            self.assertEqual(
                {'done': 'abort'}, self.call({'operation': 'abort'})
            )
            go_on.set()
            slow.join(30)

    def test_an_engine_that_does_not_answer(self):
        go_on = threading.Event()

        def handle(_message):
            go_on.wait(30)
            return {}

        with self.listening(handle):
            self.assertRaises(exception.PeerError, self.call, timeout=0.05)
            go_on.set()

    def test_what_is_no_order_harms_nobody(self):
        with self.listening():
            long = {'operation': 'x' * control._LONGEST}
            self.assertRaises(exception.PeerError, self.call, long)
            self.assertEqual({'got': ORDER}, self.call())

    def test_a_migration_does_without(self):
        self.place = str(self.directory / 'file')
        (self.directory / 'file').write_text('')
        with self.listening():
            self.assertRaises(exception.NoEngine, self.call)
        self.assertIn('cannot reach this process', self.log.output)
