# SPDX-License-Identifier: Apache-2.0
"""Work on a thread: its result, its failure, its cancelling."""

import os
import threading

from nova_blockcopy import exception
from nova_blockcopy.runtime import task
from nova_blockcopy.tests.unit import base


class TestTask(base.TestCase):
    def finished(self, work):
        started = task.Task('work', work)
        self.assertTrue(started.wait(30))
        return started

    def test_a_result(self):
        done = self.finished(lambda _cancelled: [1, 2])
        self.assertTrue(done.done)
        self.assertEqual([1, 2], done.result)
        self.assertIsNone(done.failure)

    def test_it_runs_beside_the_caller_under_its_name(self):
        done = self.finished(lambda _cancelled: threading.current_thread())
        self.assertIsNot(threading.current_thread(), done.result)
        self.assertIn('work', done.result.name)
        self.assertEqual('work', done.name)

    def test_our_error_is_kept_as_it_is(self):
        error = exception.JobFailed(disk='vda', reason='so')

        def work(_cancelled):
            raise error

        done = self.finished(work)
        self.assertIs(error, done.failure)
        self.assertIsNone(done.result)

    def test_any_other_error_is_a_failure_too(self):
        done = self.finished(lambda _cancelled: os.environ['NO_SUCH_NAME'])
        self.assertIsInstance(done.failure, exception.PeerError)
        self.assertIn('NO_SUCH_NAME', str(done.failure))
        self.assertIn('work', str(done.failure))
        self.assertIn('KeyError', self.log.output)

    def test_it_is_not_done_until_it_is_cancelled(self):
        started = task.Task('work', lambda cancelled: cancelled.wait())
        self.addCleanup(started.wait, 30)
        self.addCleanup(started.cancel)
        self.assertFalse(started.wait(0.01))
        self.assertFalse(started.done)
        started.cancel()
        self.assertTrue(started.wait(30))
        self.assertIs(True, started.result)
