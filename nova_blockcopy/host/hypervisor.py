# SPDX-License-Identifier: Apache-2.0
"""One host's libvirt, and one guest on it: thin, typed, errors translated."""

import contextlib
import enum
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import libvirt
import tenacity

from nova_blockcopy import exception
from nova_blockcopy import plan

Connect = Callable[[], libvirt.virConnect]


class Power(enum.StrEnum):
    """What a guest does on one host, as far as a migration cares."""

    RUNNING = 'running'
    PAUSED = 'paused'
    IO_ERROR = 'paused by an I/O error'
    #: On its way to or from another host.
    MIGRATING = 'paused by a migration'
    OFF = 'off'


_PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: Power.IO_ERROR,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: Power.MIGRATING,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: Power.MIGRATING,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: Power.MIGRATING,
}
_ALIVE = (
    libvirt.VIR_DOMAIN_RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED,
    libvirt.VIR_DOMAIN_PMSUSPENDED,
)

#: No guest, or none that runs, has no job either.
_NO_JOB = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
#: What is not the UUID or the name of a guest.
_NOT_FOUND = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG)

#: For what can be asked twice: a libvirt that starts again is waited for.
_patient = tenacity.retry(
    retry=tenacity.retry_if_exception_type(exception.Disconnected),
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.5),
    reraise=True,
)


class Connector:
    """Opens a connection when it is needed, and again when it was lost.

    :param uri: of a libvirt, as seen by the calling thread's host
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: libvirt.virConnect | None = None

    def __call__(self) -> libvirt.virConnect:
        with self._lock:
            if self._connection is None or not self._alive():
                # errors are raised; libvirt would print them as well
                libvirt.registerErrorHandler(_silent, None)
                self._connection = libvirt.open(self._uri)
            return self._connection

    def _alive(self) -> bool:
        try:
            return self._connection is not None and bool(
                self._connection.isAlive()
            )
        except libvirt.libvirtError:
            return False

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(libvirt.libvirtError):
                    self._connection.close()
                self._connection = None


class Hypervisor:
    """The libvirt of one host.

    :param host: its name, for messages
    :param connect: gives an open connection; called for each use, so that
        a connection that was lost is not kept
    """

    def __init__(self, host: str, connect: Connect) -> None:
        self.host = host
        self.connect = connect

    @_patient
    def versions(self) -> plan.Versions:
        with self.translated('tell its version'):
            connection = self.connect()
            return plan.Versions(
                libvirt=connection.getLibVersion(),
                hypervisor=connection.getVersion(),
            )

    @_patient
    def find(self, guest: str) -> 'Guest | None':
        """Look a guest up by UUID or by name; None if it is not defined."""
        with self.translated('look a guest up'):
            for lookup in ('lookupByUUIDString', 'lookupByName'):
                connection = self.connect()
                with _ignored(*_NOT_FOUND):
                    domain = getattr(connection, lookup)(guest)
                    return Guest(self, domain.name(), domain.UUIDString())
        return None

    def guest(self, guest: str) -> 'Guest':
        """Look a guest up.

        :raises GuestNotFound: it is not defined on this host
        """
        found = self.find(guest)
        if found is None:
            raise exception.GuestNotFound(guest=guest, host=self.host)
        return found

    @contextlib.contextmanager
    def translated(self, action: str) -> Iterator[None]:
        """Turn libvirt's errors into ours at this edge."""
        try:
            yield
        except libvirt.libvirtError as e:
            kind = exception.HypervisorError
            if e.get_error_domain() == libvirt.VIR_FROM_RPC:
                kind = exception.Disconnected
            raise kind(host=self.host, action=action, reason=e) from e


class Guest:
    """One guest on one host. It need not be defined there any more."""

    def __init__(self, hypervisor: Hypervisor, name: str, uuid: str) -> None:
        self.name = name
        self.uuid = uuid
        self.host = hypervisor.host
        self._hypervisor = hypervisor

    @_patient
    def power(self) -> Power:
        """What it does; OFF also where it is not defined (any more)."""
        with self._hypervisor.translated(f'tell the state of {self.name}'):
            state, reason = libvirt.VIR_DOMAIN_SHUTOFF, 0
            with _ignored(libvirt.VIR_ERR_NO_DOMAIN):
                state, reason = self._domain().state()
        if state in _ALIVE:
            return Power.RUNNING
        if state == libvirt.VIR_DOMAIN_PAUSED:
            return _PAUSED.get(reason, Power.PAUSED)
        return Power.OFF

    def live_xml(self) -> str:
        """The running domain, with what a migration must know of it."""
        return self._xml(
            libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
        )

    def running_xml(self) -> str:
        """The running domain, with its block jobs."""
        return self._xml(0)

    @_patient
    def persistent_xml(self) -> str | None:
        """Its definition on disk; None for a guest that has none."""
        with self._hypervisor.translated(f'read {self.name}'):
            persistent = False
            with _ignored(libvirt.VIR_ERR_NO_DOMAIN):
                persistent = bool(self._domain().isPersistent())
        if not persistent:
            return None
        return self._xml(
            libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE
        )

    @_patient
    def define(self, xml: str) -> None:
        with self._hypervisor.translated('define a guest'):
            self._hypervisor.connect().defineXML(xml)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Have it write nothing for a moment, if it runs.

        Else a host that loses its power just after a pivot leaves two
        images, and nothing that tells which of them the guest wrote to last.
        """
        runs = self.power() is Power.RUNNING
        if runs:
            with self._hypervisor.translated(f'pause {self.name}'):
                self._domain().suspend()
        try:
            yield
        finally:
            if runs:
                self.resume()

    def wake(self) -> None:
        """Resume it if something stopped it that is over now."""
        if self.power() in (Power.PAUSED, Power.IO_ERROR):
            self.resume()

    @_patient
    def resume(self) -> None:
        with self._hypervisor.translated(f'resume {self.name}'):
            self._domain().resume()

    def migrate(
        self, uri: str, parameters: dict[str, Any], flags: int
    ) -> None:
        """Run a live migration from this host; returns when it is done."""
        with self._hypervisor.translated(f'migrate {self.name} to {uri}'):
            self._domain().migrateToURI3(uri, parameters, flags)

    def snapshot(self, xml: str) -> None:
        """Have the guest write to the deltas that a snapshot names.

        All disks together or none; libvirt keeps no record of it.
        """
        flags = (
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
        )
        with self._hypervisor.translated(f'freeze the disks of {self.name}'):
            self._domain().snapshotCreateXML(xml, flags)

    @_patient
    def limits(self, disk: str) -> dict[str, int]:
        """Limits of a disk's requests, by libvirt's names; 0 = none."""
        with self._hypervisor.translated(f'read the limits of {self.name}'):
            found = self._domain().blockIoTune(
                disk, libvirt.VIR_DOMAIN_AFFECT_LIVE
            )
        return {k: v for k, v in found.items() if isinstance(v, int)}

    @_patient
    def limit(self, disk: str, limits: dict[str, int]) -> None:
        """Limit the requests of a disk until the guest ends."""
        with self._hypervisor.translated(f'limit {disk} of {self.name}'):
            self._domain().setBlockIoTune(
                disk, limits, libvirt.VIR_DOMAIN_AFFECT_LIVE
            )

    @_patient
    def undefine(self) -> None:
        """Forget a guest that does not run; done twice is done once."""
        with self._hypervisor.translated(f'undefine {self.name}'):
            with _ignored(libvirt.VIR_ERR_NO_DOMAIN):
                self._domain().undefineFlags(
                    libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
                )

    @_patient
    def migrating(self) -> bool:
        """Whether a migration or the like is under way on this host."""
        with self._hypervisor.translated(f'look at the jobs of {self.name}'):
            kind = libvirt.VIR_DOMAIN_JOB_NONE
            with _ignored(*_NO_JOB):
                kind = self._domain().jobInfo()[0]
        return kind in (
            libvirt.VIR_DOMAIN_JOB_BOUNDED,
            libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
        )

    def abort_migration(self) -> None:
        with self._hypervisor.translated(f'abort a job of {self.name}'):
            self._domain().abortJob()

    @_patient
    def _xml(self, flags: int) -> str:
        with self._hypervisor.translated(f'read {self.name}'):
            return str(self._domain().XMLDesc(flags))

    def _domain(self) -> libvirt.virDomain:
        return self._hypervisor.connect().lookupByUUIDString(self.uuid)


def _silent(_context: None, _error: tuple[Any, ...]) -> None:
    pass


@contextlib.contextmanager
def _ignored(*codes: int) -> Iterator[None]:
    """Go on after these errors of libvirt."""
    try:
        yield
    except libvirt.libvirtError as e:
        if e.get_error_code() not in codes:
            raise
