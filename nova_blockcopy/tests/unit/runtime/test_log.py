# SPDX-License-Identifier: Apache-2.0
"""The lines of our loggers, in the format of Nova's log."""

import ast
import logging as standard
import pathlib
import threading

import ddt
from oslo_context import context

import nova_blockcopy
from nova_blockcopy import exception
from nova_blockcopy.runtime import log
from nova_blockcopy.runtime import task
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import lines
from nova_blockcopy.tests.unit import samples

LOG = log.getLogger(__name__)
OTHER = '99999999-2222-3333-4444-555555555555'
PACKAGE = pathlib.Path(nova_blockcopy.__file__).parent
MODULES = [
    path
    for path in sorted(PACKAGE.rglob('*.py'))
    if 'tests' not in path.relative_to(PACKAGE).parts
    and path != pathlib.Path(log.__file__)
]
#: Names that begin a thread.
THREADS = {'Thread', 'Timer', 'submit'}


def broken():
    raise exception.SeedFailed(disk='vda', reason='it broke.')


class LogTestCase(base.TestCase):
    def setUp(self):
        super().setUp()
        self.lines = self.useFixture(lines.Lines())

    def line(self):
        (found,) = self.lines.all
        return found


class TestGuest(LogTestCase):
    def test_a_line_names_the_guest_as_novas_lines_do(self):
        with log.about(samples.UUID):
            LOG.info('Disk %s is there', 'vda')
        self.assertEqual(
            f'[-] [instance: {samples.UUID}] Disk vda is there',
            self.line().whole.partition(f'INFO {__name__} ')[2],
        )

    def test_a_line_about_no_guest(self):
        LOG.info('The host is there')
        self.assertIsNone(self.line().instance)
        self.assertEqual('The host is there', self.line().text)

    def test_a_line_may_name_another_guest(self):
        with log.about(samples.UUID):
            LOG.info('so', instance={'uuid': OTHER})
        self.assertEqual(OTHER, self.line().instance)

    def test_the_end_of_a_block(self):
        with log.about(samples.UUID):
            with log.about(OTHER):
                LOG.info('one')
            with log.about(None):
                LOG.info('two')
        LOG.info('three')
        self.assertEqual(
            [OTHER, samples.UUID, None],
            [each.instance for each in self.lines.all],
        )

    def test_the_line_comes_from_its_caller(self):
        with self.assertLogs(__name__, standard.INFO) as found:
            LOG.info('so')
        (record,) = found.records
        self.assertEqual(
            ('test_the_line_comes_from_its_caller', __file__),
            (record.funcName, record.pathname),
        )


class TestThreads(LogTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self._forget)
        self.request = context.RequestContext(overwrite=True)

    def _forget(self):
        if context.get_current() is not None:
            del context._request_store.context

    def assert_complete(self):
        for each in self.lines.all:
            self.assertEqual(samples.UUID, each.instance)
            self.assertIn(self.request.request_id, each.request)

    def test_a_task_has_the_guest_and_the_request(self):
        with log.about(samples.UUID):
            started = task.Task('work', lambda _cancelled: LOG.info('so'))
        self.assertTrue(started.wait(30))
        self.assertEqual('so', self.line().text)
        self.assert_complete()

    def test_many_threads_at_once(self):
        meeting = threading.Barrier(3, timeout=30)

        def work():
            meeting.wait()  # all are in their context now
            LOG.info('so')
            meeting.wait()

        with log.about(samples.UUID):
            carried = log.carried(work)
        threads = [threading.Thread(target=carried) for _each in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
        self.assertEqual(['so'] * 3, self.lines.of('INFO'))
        self.assert_complete()

    def test_a_thread_that_is_not_carried_has_neither(self):
        with log.about(samples.UUID):
            thread = threading.Thread(target=lambda: LOG.info('so'))
            thread.start()
            thread.join(30)
        self.assertIsNone(self.line().instance)
        self.assertEqual('-', self.line().request)


class TestErrors(LogTestCase):
    def test_an_error_that_is_quoted_stands_there_once(self):
        try:
            broken()
        except exception.SeedFailed as e:
            LOG.warning('It failed: %s', e)
        self.assertEqual(
            'It failed: Seeding the base of disk vda failed: it broke.',
            self.line().text,
        )

    def test_an_undo_does_not_repeat_why_it_is_done(self):
        try:
            broken()
        except exception.SeedFailed:
            LOG.warning('The export has ended')
        self.assertEqual('The export has ended', self.line().text)

    def test_a_traceback_has_the_error(self):
        try:
            broken()
        except exception.SeedFailed:
            LOG.exception('It failed')
        first, *more = self.line().text.splitlines()
        error = (
            'nova_blockcopy.exception.SeedFailed: '
            'Seeding the base of disk vda failed: it broke.'
        )
        self.assertEqual(f'It failed: {error}', first)
        self.assertIn('in broken', '\n'.join(more))
        self.assertIn(error, more[-2])


class TestAttempts(LogTestCase):
    def attempt(self, *texts):
        with self.attempts.another():
            for text in texts:
                LOG.warning('It failed: %s', text)

    def test_a_failure_is_logged_when_it_changes(self):
        self.attempts = log.Attempts()
        self.attempt('full', 'slow')
        self.attempt('full', 'slow')
        self.attempt('full', 'gone')
        self.attempt('slow')
        LOG.warning('outside')
        LOG.warning('outside')
        self.assertEqual(
            [
                *('It failed: full', 'It failed: slow', 'It failed: gone'),
                *('It failed: slow', 'outside', 'outside'),
            ],
            self.lines.of('WARNING'),
        )
        self.assertEqual(
            ['It failed: full', 'It failed: slow', 'It failed: full'],
            self.lines.of('DEBUG'),
        )

    def test_the_same_line_twice_in_one_attempt(self):
        self.attempts = log.Attempts()
        self.attempt('full', 'full')
        self.assertEqual(['It failed: full'] * 2, self.lines.of('WARNING'))


@ddt.ddt
class TestModules(base.TestCase):
    @ddt.data(*MODULES)
    def test_all_loggers_are_ours(self, path):
        if path.name == 'shell.py':  # sets the levels of a command
            return
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or '']
            for name in names:
                self.assertNotIn(
                    name.partition('.')[0], ('logging', 'oslo_log'), path
                )

    @ddt.data(*MODULES)
    def test_all_threads_take_the_guest_along(self, path):
        tree = ast.parse(path.read_text())
        called = [
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
        ]
        begun = [name for name in called if name in THREADS]
        carried = [name for name in called if name == 'carried']
        if path.name != 'reconcile.py':  # its thread names each guest itself
            self.assertEqual(len(begun), len(carried), path)
