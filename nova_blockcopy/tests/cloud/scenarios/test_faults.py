# SPDX-License-Identifier: Apache-2.0
"""Something else than nova-compute breaks during a migration."""

import contextlib
import time
import typing
from collections.abc import Iterator

import psutil

from nova_blockcopy import domxml
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.cloud.scenarios import ends
from nova_blockcopy.tests.faults import bed
from nova_blockcopy.tests.lab import host

#: The long states, before and after the switchover.
_LONG = tuple(dict.fromkeys((ends.LONG, 'copying')))
#: Seconds that a link is cut.
_CUT = 5
#: Seconds after which a call of nova-compute fails that got no answer.
_RPC_TIMEOUT = 30
#: What Nova calls a migration that is over. A migration in "error" may still
#: be settled.
_OVER = ('completed', 'failed', 'cancelled')


class FaultsTestCase(ends.EndsTestCase):
    options: typing.ClassVar = {
        **ends.EndsTestCase.options,
        'DEFAULT': {'rpc_response_timeout': _RPC_TIMEOUT},
    }

    def begin(
        self, guest: server.Server, state: str
    ) -> tuple[compute.Compute, compute.Compute]:
        """Migrate a guest to the other host, and wait for a state.

        :returns: the source and the destination
        """
        here = guest.at
        there = self.other(here)
        guest.live_migrate(there)
        self.wait_for_state(guest, here, state)
        return here, there

    def assert_over(self, guest: server.Server, *wanted: str) -> None:
        """The migration ends in one of these ways, and all is in order."""
        waiting.until(
            lambda: guest.migrations()[0].status in _OVER,
            timeout=300,
            interval=0.3,
        )
        guest.wait_for_status('ACTIVE')
        latest = guest.migrations()[0]
        self.assertIn(latest.status, wanted)
        done = latest.status == 'completed'
        name = latest.destination if done else latest.source
        (at,) = (each for each in self.cloud.computes if each.name == name)
        self.assert_at_home(guest, at)

    def move_on(self, guest: server.Server) -> None:
        """The next migration works."""
        for each in self.cloud.computes:
            self.wait_until_enabled(each)
        self.move(guest, self.other(guest.at))

    def wait_until_enabled(self, at: compute.Compute) -> None:
        """Wait until Nova takes a host for one that guests can go to.

        A nova-compute that has lost libvirt tells the scheduler so.
        """

        def enabled() -> bool:
            path = f'/os-services?host={at.name}&binary=nova-compute'
            (found,) = self.cloud.api.compute('GET', path)['services']
            return (found['status'], found['state']) == ('enabled', 'up')

        self.assertTrue(waiting.until(enabled, timeout=180, interval=0.5))

    def kill(self, at: host.Host, name: str) -> None:
        """End all processes of a host with such a name."""
        self.assertNotEqual([], _named(at, name))

        def gone() -> bool:
            found = _named(at, name)
            at.kill(found)
            return not found

        self.assertTrue(waiting.until(gone, timeout=30))

    def kill_service(self, it: service.Service, name: str) -> None:
        """End a service of the control plane, which starts at the end again.

        :param name: of its processes
        """
        self.addCleanup(self.mend, it)
        self.kill(self.cloud.control.host, name)
        # the parent of these processes ends with them
        waiting.until(lambda: it.process is None, timeout=30)

    def mend(self, it: service.Service) -> None:
        """Start a service, unless it runs."""
        it.start()
        it.wait()

    @contextlib.contextmanager
    def lasting(self, guest: server.Server, state: str) -> Iterator[None]:
        """While a window lasts that could be too short for a fault."""
        if state != 'copying':
            yield
            return
        with self.silenced(guest.at):
            yield


class TestBroker(FaultsTestCase):
    """RabbitMQ is killed, and forgets all queues."""

    def test_in_each_long_state(self):
        guest = self.boot()
        for state in _LONG:
            self.begin(guest, state)
            with self.lasting(guest, state):
                self.restart_broker()
            self.assert_over(guest, 'completed', 'failed')
        self.move_on(guest)

    def test_at_the_pivot(self):
        """The source does not see it before it has to say what it did."""
        guest = self.boot()
        for state in ('pivoting', 'releasing'):
            here, _there = self.stop_in(guest, state, source=True)
            try:
                self.restart_broker()
            finally:
                self._thaw(here)
            self.assert_over(guest, 'completed')
        self.move_on(guest)

    def restart_broker(self) -> None:
        broker = self.cloud.control.rabbitmq
        self.kill_service(broker, 'beam.smp')
        time.sleep(_CUT)
        self.mend(broker)
        # what is sent to a queue that does not exist yet is lost
        wanted = {f'compute.{each.name}' for each in self.cloud.computes}
        self.assertTrue(
            waiting.until(
                lambda: wanted <= self.cloud.control.listened(),
                timeout=180,
                interval=1,
            )
        )


class TestConductor(FaultsTestCase):
    def test_in_each_long_state(self):
        """Away until nova-compute has waited in vain for the database."""
        guest = self.boot()
        for state in _LONG:
            here, _there = self.begin(guest, state)
            with self.lasting(guest, state):
                self.restart_conductor(here)
            self.assert_over(guest, 'completed', 'failed')
        self.move_on(guest)

    def restart_conductor(self, at: compute.Compute) -> None:
        conductor = self.cloud.control.conductor
        begin = at.service.log.stat().st_size
        self.kill_service(conductor, 'nova-conductor')
        waiting.until(
            lambda: b'MessagingTimeout' in _since(at, begin),
            timeout=2 * _RPC_TIMEOUT,
        )
        self.mend(conductor)


class TestLibvirtd(FaultsTestCase):
    """libvirtd is killed, and starts again; the guests run on."""

    def test_of_the_source(self):
        self._in_each_long_state(source=True)

    def test_of_the_destination(self):
        self._in_each_long_state(source=False)

    def _in_each_long_state(self, *, source: bool) -> None:
        guest = self.boot()
        for state in _LONG:
            here, there = self.begin(guest, state)
            victim = here if source else there
            with self.lasting(guest, state):
                self.restart_libvirtd(victim)
            self.assert_over(guest, 'completed', 'failed')
            self.wait_until_enabled(victim)
        self.move_on(guest)

    def test_of_the_destination_at_the_pivot(self):
        guest = self.boot()
        here, there = self.stop_in(guest, 'pivoting', source=True)
        try:
            self.restart_libvirtd(there)
        finally:
            self._thaw(here)
        self.assert_over(guest, 'completed')
        self.move_on(guest)

    def restart_libvirtd(self, at: compute.Compute) -> None:
        self.addCleanup(self._mend, at)
        self.kill(at.host, 'libvirtd')
        self._mend(at)

    def _mend(self, at: compute.Compute) -> None:
        if not _named(at.host, 'libvirtd'):
            at.host.start_libvirtd()
        at.host.wait_for_libvirtd()


class TestExporter(FaultsTestCase):
    def test_in_the_window(self):
        """The guest waits for its disks, and they are copied anew."""
        guest = self.boot()
        here, _there = self.begin(guest, 'copying')
        self.kill(here.host, 'qemu-nbd')
        self.assert_over(guest, 'completed')
        self.move_on(guest)


class TestLink(FaultsTestCase):
    def test_between_the_hosts(self):
        """Packets get lost, and nobody gets an error."""
        guest = self.boot()
        for state in _LONG:
            self.begin(guest, state)
            with self.cut_between():
                time.sleep(_CUT)
            self.assert_over(guest, 'completed', 'failed')
        self.move_on(guest)

    def test_of_the_source(self):
        """It reaches neither the other host nor the message broker."""
        guest = self.boot()
        for state in _LONG:
            here, _there = self.begin(guest, state)
            with self.cut_off(here):
                time.sleep(_CUT)
            self.assert_over(guest, 'completed', 'failed')
        self.move_on(guest)

    @contextlib.contextmanager
    def cut_between(self) -> Iterator[None]:
        ways = [
            (each.host, self.other(each).host) for each in self.cloud.computes
        ]
        try:
            for at, other in ways:
                bed.cut(at, other, drop=True)
            yield
        finally:
            for at, other in ways:
                bed.cut(at, other, drop=False)

    @contextlib.contextmanager
    def cut_off(self, at: compute.Compute) -> Iterator[None]:
        link = ('ip', 'link', 'set', 'eth0')
        try:
            at.host.run(*link, 'down')
            yield
        finally:
            at.host.run(*link, 'up')


class TestForeignSnapshot(FaultsTestCase):
    def test_before_the_switchover(self):
        """Another tool's image lies on top of the disk that moves."""
        guest = self.boot()
        here, _there = self.begin(guest, ends.LONG)
        with self.snapshot(guest, here):
            guest.wait_for_migration('failed')
            self.assertEqual([here.name], guest.runs_on())
        self.assert_over(guest, 'failed')
        self.move_on(guest)

    @contextlib.contextmanager
    def snapshot(
        self, guest: server.Server, at: compute.Compute
    ) -> Iterator[None]:
        """Take an external snapshot, and commit it at the end."""
        disk, *others = domxml.disks(at.domain(guest.uuid).XMLDesc())
        file = at.host.images / 'foreign.qcow2'
        self.addCleanup(at.host.outside(file).unlink, missing_ok=True)
        specs = [
            f'{disk},snapshot=external,file={file}',
            *(f'{each},snapshot=no' for each in others),
        ]
        at.host.run(
            *('virsh', 'snapshot-create-as', guest.uuid),
            *('--disk-only', '--no-metadata'),
            *(word for each in specs for word in ('--diskspec', each)),
        )
        yield
        at.host.run(
            *('virsh', 'blockcommit', guest.uuid, disk),
            *('--active', '--pivot', '--wait', '--shallow'),
        )


class TestJournal(FaultsTestCase):
    """The source's journal lacks its second half after a crash."""

    def test_before_the_switchover(self):
        guest = self.boot()
        here, _there, _victim = self.kill_in(guest, ends.LONG, source=True)
        with self.damaged(guest, here):
            # Nova has not taken it for one that is at home
            self.assertEqual('migrating', guest.task)
            self.assert_not_deleted(guest, here)
            self.assertEqual([here.name], guest.runs_on())
        self.assert_over(guest, 'failed')
        self.move_on(guest)

    def test_in_the_window(self):
        """The guest runs on, on disks of the host whose journal is damaged."""
        # Nova asks Cinder before a hard reboot
        self.cloud.control.start_volumes()
        guest = self.boot()
        here, there, _victim = self.kill_in(guest, 'copying', source=True)
        with self.damaged(guest, here):
            self.assert_not_deleted(guest, here)
            self.assert_not_started(guest, here)
            self.assertEqual([there.name], guest.runs_on())
            guest.log.wait_for_more(guest.targets[0], 10)
        self.assert_over(guest, 'failed')
        self.move_on(guest)

    @contextlib.contextmanager
    def damaged(
        self, guest: server.Server, at: compute.Compute
    ) -> Iterator[None]:
        """Start nova-compute on half a journal, and repair it at the end."""
        path = self._journal(guest, at)
        right = path.read_text()
        half = right[: len(right) // 2]
        path.write_text(half)
        try:
            at.restart()
            (error,) = (
                line
                for line in at.service.output().splitlines()
                if ' ERROR ' in line and str(path.name) in line
            )
            self.assertIn('it cannot be read', error)
            yield
            # nobody has touched it
            self.assertEqual(half, path.read_text())
        finally:
            at.stop()
            path.write_text(right)
            at.restart()

    def assert_not_deleted(
        self, guest: server.Server, at: compute.Compute
    ) -> None:
        before = at.volumes.names()
        self.cloud.api.compute('DELETE', f'/servers/{guest.uuid}')
        self.wait_for_refusal(at, 'cannot destroy instance')
        guest.wait_for_status('ERROR')
        self.assertEqual(before, at.volumes.names())

    def assert_not_started(
        self, guest: server.Server, at: compute.Compute
    ) -> None:
        """A hard reboot is refused, which would start the guest here."""
        api = self.cloud.api
        path = f'/servers/{guest.uuid}/action'
        api.compute('POST', path, {'os-resetState': {'state': 'active'}})
        api.compute('POST', path, {'reboot': {'type': 'HARD'}})
        self.wait_for_refusal(at, 'cannot hard reboot instance')

    def wait_for_refusal(self, at: compute.Compute, words: str) -> None:
        self.assertTrue(
            waiting.until(lambda: words in at.service.output(), timeout=120)
        )


def _named(at: host.Host, name: str) -> list[psutil.Process]:
    """Return the processes of a host whose names begin so."""
    found = []
    for process in at.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith(name):
                found.append(process)
    return found


def _since(at: compute.Compute, begin: int) -> bytes:
    """What the log of a nova-compute has gained."""
    with at.service.log.open('rb') as f:
        f.seek(begin)
        return f.read()
