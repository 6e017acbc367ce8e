# SPDX-License-Identifier: Apache-2.0
"""The stage of one migration: all that a fault can reach."""

import threading
import time
from collections.abc import Callable

import libvirt
import psutil

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.faults import bed as beds
from nova_blockcopy.tests.faults import daemon
from nova_blockcopy.tests.lab import host as hosts
from nova_blockcopy.tests.lab import scene

_TICK = 0.02
#: Seconds for which a fault waits for its moment.
_SECONDS = 90
#: Reports on each disk in so many seconds make a guest that writes.
_REPORTS = 5
_REPORTS_SECONDS = 30


class Stage:
    """One migration of a guest, and both services.

    :param services: by the name of the host
    """

    def __init__(
        self,
        bed: beds.Bed,
        made: scene.Scene,
        services: dict[str, daemon.Daemon],
    ) -> None:
        self.bed = bed
        self.made = made
        self.home, self.away = made.home, made.away
        self.source = services[made.home.name]
        self.destination = services[made.away.name]
        #: For people: what happened to the fault itself.
        self.notes: list[str] = []
        #: The guest's owner wants it to be paused.
        self.paused = False
        #: The guest may be off: somebody shut it down, or killed its QEMU.
        self.off = False
        #: The guest may see errors of its disks.
        self.erring = False
        #: The host that is lost for good.
        self.lost: hosts.Host | None = None
        #: The side on which a person has settled the migration.
        self.settled = ''
        #: Whether anything was broken.
        self.met = True
        self._since = 0

    @property
    def guest(self) -> str:
        """The UUID of the guest."""
        return self.made.guest.uuid

    @property
    def services(self) -> list[daemon.Daemon]:
        """The services of the hosts that are not lost."""
        return [
            each
            for each in (self.source, self.destination)
            if each.at is not self.lost
        ]

    @property
    def has_ended(self) -> bool:
        """Whether the first run of the migration has ended."""
        return not self.source.alive or bool(self.ends())

    @property
    def has_ended_well(self) -> bool:
        """Whether the first run needs no settlement."""
        return any(e['ended'] not in ('stuck', 'crashed') for e in self.ends())

    def ends(self) -> list[dict[str, str]]:
        """Return the ends of this migration that the source has traced."""
        return self.events('ended')

    def begin(self) -> None:
        """Forget the events of earlier migrations."""
        self._since = len(self.source.trace.events())

    def events(self, kind: str = '') -> list[dict[str, str]]:
        """Return the source's events of this migration."""
        return [
            event
            for event in self.source.trace.events()[self._since :]
            if not kind or kind in event
        ]

    def where(self) -> hosts.Host:
        """Return the host on which the guest is active; home if unknown."""
        states = {at.name: self.state(at) for at in (self.home, self.away)}
        for at in (self.home, self.away):
            if states[at.name] == libvirt.VIR_DOMAIN_RUNNING:
                return at
        # an incoming guest is paused on both, and is at home
        for at in (self.home, self.away):
            if states[at.name] == libvirt.VIR_DOMAIN_PAUSED:
                return at
        return self.home

    @property
    def disk(self) -> str:
        """The disk that other tools choose."""
        return self.made.guest.targets[-1]

    def state(self, at: hosts.Host) -> int | None:
        """Return libvirt's state of the guest; None if it is not defined."""
        return self._state_and_reason(at)[0]

    def pause_reason(self, at: hosts.Host) -> int | None:
        """Return libvirt's reason for a pause; None if the guest runs."""
        state, reason = self._state_and_reason(at)
        return reason if state == libvirt.VIR_DOMAIN_PAUSED else None

    def _state_and_reason(
        self, at: hosts.Host
    ) -> tuple[int, int] | tuple[None, None]:
        try:
            connection = at.connect()
        except libvirt.libvirtError:
            return None, None
        try:
            domain = connection.lookupByUUIDString(self.guest)
            state, reason = domain.state()
        except libvirt.libvirtError:
            return None, None
        finally:
            connection.close()
        return state, reason

    def writes(self) -> bool:
        """Tell whether the guest writes to all disks, after some time."""
        log = self.made.guest.log
        goals = {t: log.reports(t) + _REPORTS for t in self.made.guest.targets}
        return waiting.until(
            lambda: all(log.reports(t) >= n for t, n in goals.items()),
            timeout=_REPORTS_SECONDS,
        )

    def suspend(self) -> bool:
        """Pause the guest as its owner does.

        :returns: whether the guest has to be paused afterwards; not if it
            stands still already, or if libvirt takes the pause for the order
            to finish a migration
        """
        at = self.where()
        if self.state(at) == libvirt.VIR_DOMAIN_PAUSED:
            self.notes.append('the guest stood still when its owner paused it')
            return False
        done = self.virsh(at, 'suspend', self.guest)
        why = self.pause_reason(at)
        return done and why != libvirt.VIR_DOMAIN_PAUSED_MIGRATION

    def kill(self, at: hosts.Host, name: str) -> bool:
        """Kill what runs by a name on a host; tell whether anything did."""
        found = [p for p in at.processes() if _named(p, name)]
        at.kill(found)
        return bool(found)

    def kill_next(self, at: hosts.Host, name: str) -> None:
        """Kill what runs by a name, or the next that does.

        The fault is not met if the migration ends before.
        """
        killed: list[bool] = []

        def attempt() -> bool:
            if self.kill(at, name):
                killed.append(True)
            return bool(killed) or self.has_ended

        waiting.until(attempt, timeout=_SECONDS, interval=_TICK)
        self.met = bool(killed)

    def virsh(self, at: hosts.Host, *argv: str, timeout: int = 60) -> bool:
        """Run virsh as another tool would; note a refusal.

        :returns: whether virsh did what it was told
        """
        done = at.run('virsh', *argv, check=False, timeout=timeout)
        if done.returncode:
            self.notes.append(f'{argv[0]}: {done.stderr.strip()}')
        return done.returncode == 0

    def wait(
        self, condition: Callable[[], bool], timeout: float = _SECONDS
    ) -> bool:
        """Wait for a condition; tell whether it came true.

        :param timeout: seconds
        """
        return waiting.until(condition, timeout=timeout, interval=0.05)

    def last(self, seconds: float) -> None:
        """Let a fault last, at least for a time."""
        time.sleep(seconds)


class Watch:
    """Looks again and again whether the guest runs on both hosts."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        #: Whether the guest ran on both hosts at a time.
        self.doubled = False

    def __enter__(self) -> 'Watch':
        self._thread.start()
        return self

    def __exit__(self, *_ignored: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        home, away = self._stage.home, self._stage.away
        while not self._stop.wait(0.3):
            # home before and after, so that no switchover looks like two
            seen = [self._runs(at) for at in (home, away, home)]
            self.doubled = self.doubled or all(seen)

    def _runs(self, at: hosts.Host) -> bool:
        return bool(self._stage.state(at) == libvirt.VIR_DOMAIN_RUNNING)


def _named(process: psutil.Process, name: str) -> bool:
    try:
        return bool(process.name().startswith(name))
    except psutil.NoSuchProcess:
        return False
