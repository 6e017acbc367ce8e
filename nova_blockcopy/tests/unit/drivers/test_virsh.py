# SPDX-License-Identifier: Apache-2.0
"""The virsh driver: exact argument lists, and what is made of answers."""

import ddt
import psutil

from nova_blockcopy import bandwidth
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.drivers import virsh
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

URI = 'qemu+tcp://host/system'
MIB = bandwidth.MIB
LIMITED = model.CopySettings(bandwidth=5 * MIB)
FIGURES = ' type=Block Copy\n bandwidth=7\n cur=12\n end=34\n'


class VirshTestCase(base.TestCase):
    """With a virsh that notes its arguments and says what it was told to.

    What it prints for a command is in the file of that command's name.
    """

    def setUp(self):
        super().setUp()
        self.answers('blockcopy', 'blockcommit', 'blockjob', 'dumpxml')
        self.program(
            'virsh',
            f'cd {self.directory}\n'
            'printf "%s\\n" "$LC_ALL" > locale\n'
            'printf "%s\\n" "$@" > argv\n'
            'cat "$4" || exit 99\n'
            'while [ $# -gt 0 ]; do\n'
            '    if [ "$1" = --xml ]; then cp "$2" xml; fi\n'
            '    shift\n'
            'done\n'
            'if [ -e error ]; then cat error >&2; exit 1; fi',
        )
        self.driver = self.make(timeout=30)

    def make(self, timeout):
        context = contract.Access(
            uri=URI, connect=fakes.Connection, timeout=timeout
        )
        return virsh.VirshCopyDriver(context)

    def answers(self, *commands, **texts):
        for name in commands:
            (self.directory / name).write_text('')
        for name, text in texts.items():
            (self.directory / name).write_text(text)

    def arguments(self):
        """Those of the last call, after the ones of every call."""
        argv = (self.directory / 'argv').read_text().splitlines()
        self.assertEqual(['--quiet', '--connect', URI], argv[:3])
        return argv[3:]


@ddt.ddt
class TestStart(VirshTestCase):
    def start(self, image, settings=LIMITED):
        self.driver.start('guest', 'vda', image, settings)
        return ' '.join(self.arguments())

    def test_a_block_device(self):
        self.assertEqual(
            'blockcopy guest vda --dest /dev/vg/root --shallow '
            '--reuse-external --blockdev --bandwidth 5 --granularity 512 '
            '--format raw --transient-job',
            self.start(samples.image()),
        )

    def test_a_raw_file(self):
        self.assertEqual(
            'blockcopy guest vda --dest /x --shallow --reuse-external '
            '--bandwidth 5 --granularity 512 --format raw --transient-job',
            self.start(samples.image('/x', samples.FILE)),
        )

    @ddt.data(
        samples.image('/x', samples.FILE, samples.QCOW2),
        samples.layered('/x', '/below'),
    )
    def test_a_qcow2_goes_by_xml_with_its_whole_chain(self, image):
        words = self.start(image).split()
        path = words.pop(words.index('--xml') + 1)
        self.assertEqual(
            'blockcopy guest vda --xml --shallow --reuse-external '
            '--bandwidth 5 --granularity 512 --transient-job',
            ' '.join(words),
        )
        self.assertTrue(path.startswith('/'), path)
        xml = (self.directory / 'xml').read_text()
        whole = xml.replace('</disk>', '<target dev="vda"/></disk>')
        disks = domxml.disks(samples.domain(whole))
        self.assertEqual(image, disks['vda'].source)

    @ddt.named_data(
        ('unlimited', {}, '--granularity 512'),
        (
            'odd bytes',
            {'bandwidth': MIB + 1},
            f'--bandwidth {MIB + 1} --bytes --granularity 512',
        ),
        ('less than a MiB', {'bandwidth': 1}, '--bandwidth 1 --bytes'),
        ('one MiB', {'bandwidth': MIB}, '--bandwidth 1 --granularity'),
        ('buffer', {'buf_size': 4096}, '--buf-size 4096'),
        ('synchronous', {'synchronous_writes': True}, '--synchronous-writes'),
        (
            'all',
            {
                'bandwidth': 2 * MIB,
                'granularity': 65536,
                'buf_size': 4096,
                'synchronous_writes': True,
            },
            '--bandwidth 2 --granularity 65536 --buf-size 4096 '
            '--synchronous-writes --format raw --transient-job',
        ),
    )
    @ddt.unpack
    def test_settings(self, values, expected):
        settings = model.CopySettings(**values)
        self.assertIn(expected, self.start(samples.image(), settings))

    def test_all_layers(self):
        settings = model.CopySettings(shallow=False)
        self.assertNotIn('--shallow', self.start(samples.image(), settings))
        self.assertIn(
            '--shallow', self.start(samples.image(), model.CopySettings())
        )

    def test_what_is_zero_is_left_out(self):
        said = self.start(samples.image(), model.CopySettings(granularity=0))
        for word in (
            '--bandwidth',
            '--bytes',
            '--granularity',
            '--buf-size',
            '--synchronous-writes',
        ):
            self.assertNotIn(word, said)


@ddt.ddt
class TestCalls(VirshTestCase):
    @ddt.data(
        (0, ''),
        (7 * MIB, ' --bandwidth 7'),
        (MIB + 1, f' --bandwidth {MIB + 1} --bytes'),
    )
    @ddt.unpack
    def test_a_commit_goes_into_one_image(self, speed, more):
        self.driver.commit('guest', 'vda', samples.image('/x'), speed)
        self.assertEqual(
            f'blockcommit guest vda --base /x --active{more}',
            ' '.join(self.arguments()),
        )

    @ddt.data(0, 1, 7 * MIB)
    def test_speed_is_in_bytes(self, speed):
        self.driver.set_speed('guest', 'vda', speed)
        self.assertEqual(
            f'blockjob guest vda --bandwidth {speed} --bytes',
            ' '.join(self.arguments()),
        )

    @ddt.data('pivot', 'abort')
    def test_the_end_of_a_job(self, how):
        getattr(self.driver, how)('guest', 'vda')
        self.assertEqual(
            f'blockjob guest vda --{how} --async', ' '.join(self.arguments())
        )

    def test_the_locale_is_fixed(self):
        self.driver.abort('guest', 'vda')
        self.assertEqual('C\n', (self.directory / 'locale').read_text())

    def test_not_ready(self):
        self.answers(
            error="error: block copy still active: disk 'vda' not ready for "
            'pivot yet\n'
        )
        error = self.assertRaises(
            exception.NotReady, self.driver.pivot, 'guest', 'vda'
        )
        self.assertIn('vda', str(error))

    @ddt.data(
        ('start', samples.image(), LIMITED),
        ('commit', samples.image(), 0),
        ('set_speed', 5),
        ('pivot',),
        ('abort',),
        ('status',),
    )
    def test_any_other_error_is_passed_on(self, call):
        self.answers(error='error: domain is gone\n')
        method, *more = call
        error = self.assertRaises(
            exception.DriverError,
            getattr(self.driver, method),
            *('guest', 'vda', *more),
        )
        self.assertIs(exception.DriverError, type(error))
        self.assertIn('domain is gone', str(error))
        self.assertIn('disk vda', str(error))

    def test_a_call_that_outlives_its_time_is_killed(self):
        pid_file = self.directory / 'pid'
        self.program('virsh', f'echo $$ > {pid_file}; exec sleep 600')
        error = self.assertRaises(
            exception.DriverTimeout, self.make(1).pivot, 'guest', 'vda'
        )
        self.assertIn('pivot', str(error))
        self.assertFalse(psutil.pid_exists(int(pid_file.read_text())))


@ddt.ddt
class TestStatus(VirshTestCase):
    def status(self, figures, mirror):
        xml = samples.domain(samples.disk_xml(more=mirror))
        self.answers(blockjob=figures, dumpxml=xml)
        return self.driver.status('guest', 'vda').get('vda')

    def test_what_is_asked(self):
        (self.directory / 'dumpxml').unlink()
        self.assertRaises(
            exception.DriverError, self.driver.status, 'guest', 'vda'
        )
        self.assertEqual(['dumpxml', 'guest'], self.arguments())
        (self.directory / 'blockjob').unlink()
        self.assertRaises(
            exception.DriverError, self.driver.status, 'guest', 'vda'
        )
        self.assertEqual(
            ['blockjob', 'guest', 'vda', '--raw', '--bytes'],
            self.arguments(),
        )

    @ddt.data(
        ('<mirror><source dev="/dev/x"/></mirror>', False),
        ('<mirror ready="yes"><source file="/dev/x"/></mirror>', True),
    )
    @ddt.unpack
    def test_ready_is_read_from_the_domain(self, mirror, ready):
        self.assertEqual(
            contract.JobStatus(
                processed=12,
                total=34,
                bandwidth=7,
                kind=contract.JobKind.COPY,
                ready=ready,
                into='/dev/x',
            ),
            self.status(FIGURES, mirror),
        )

    def test_equal_figures_are_not_ready(self):
        figures = FIGURES.replace('12', '34')
        self.assertFalse(self.status(figures, '<mirror/>').ready)

    def test_a_mirror_without_figures_is_a_job(self):
        status = self.status('', '<mirror ready="yes"/>')
        self.assertEqual(
            (0, 0, True), (status.processed, status.total, status.ready)
        )

    def test_figures_without_a_mirror_are_a_job(self):
        self.assertFalse(self.status(FIGURES, '').ready)

    @ddt.data('', '\n')
    def test_no_job(self, printed):
        self.assertIsNone(self.status(printed, ''))


@ddt.ddt
class TestJobInfo(base.TestCase):
    def test_figures(self):
        self.assertEqual(
            contract.JobInfo(
                processed=12,
                total=34,
                bandwidth=7,
                kind=contract.JobKind.COPY,
            ),
            virsh.job_info(FIGURES),
        )

    @ddt.data(*contract.JobKind)
    def test_kinds(self, kind):
        found = virsh.job_info(FIGURES.replace('Block Copy', kind))
        self.assertIs(kind, found and found.kind)

    def test_a_kind_of_a_newer_virsh(self):
        found = virsh.job_info(FIGURES.replace('Block Copy', 'Block Dance'))
        self.assertIs(contract.JobKind.UNKNOWN, found and found.kind)

    @ddt.data('No current block job for vda', ' cur=1\n end=2\n', ' cur=x\n')
    def test_anything_else_is_an_error(self, printed):
        self.assertRaises(ValueError, virsh.job_info, printed)
