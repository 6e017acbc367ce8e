# SPDX-License-Identifier: Apache-2.0
"""One host's libvirt, and one guest on that host.

Errors of libvirt become errors of this project, except in
:class:`Connector`.
"""

import contextlib
import enum
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import libvirt

from nova_blockcopy import exception
from nova_blockcopy import plan
from nova_blockcopy.host import repeat

Connect = Callable[[], libvirt.virConnect]


class Power(enum.StrEnum):
    """The states of a guest on one host that a migration tells apart."""

    RUNNING = 'running'
    PAUSED = 'paused'
    IO_ERROR = 'paused by an I/O error'
    #: Moving to or from another host.
    MIGRATING = 'paused by a migration'
    #: The guest has suspended itself to RAM.
    SUSPENDED = 'suspended to RAM'
    #: The guest has crashed or shut down, and its QEMU is still there.
    HALTED = 'halted'
    #: The guest has no QEMU.
    OFF = 'off'


_PAUSED = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: Power.IO_ERROR,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: Power.MIGRATING,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: Power.MIGRATING,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: Power.MIGRATING,
}
_POWERS = {
    libvirt.VIR_DOMAIN_RUNNING: Power.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Power.RUNNING,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.SUSPENDED,
}
#: libvirt has one domain job at a time: an operation on a whole guest.
MIGRATION = 'migration'
_DOMAIN_JOBS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_START: 'start',
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: 'save',
    libvirt.VIR_DOMAIN_JOB_OPERATION_RESTORE: 'restore',
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: 'incoming migration',
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: MIGRATION,
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: 'snapshot',
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: 'snapshot revert',
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: 'dump',
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: 'backup',
}

_RUNNING_JOB = (
    libvirt.VIR_DOMAIN_JOB_BOUNDED,
    libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
)
#: VIR_DOMAIN_UNDEFINE_KEEP_TPM, and the first libvirt that has it. The Python
#: binding may be older.
_KEEP_TPM = 64
_KEEPS_TPM = 8_009_000

#: A guest that is not defined or not active has no job.
_NO_JOB = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
#: Errors for a string that is no UUID or no name of a guest.
_NOT_FOUND = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG)


class Connector:
    """Opens a connection at the first call, and again after a loss.

    A call returns the open connection or raises libvirt's own error.

    :param uri: a libvirt URI, as seen from the host of the calling thread
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: libvirt.virConnect | None = None

    def __call__(self) -> libvirt.virConnect:
        with self._lock:
            if self._connection is None or not self._alive():
                # without a handler, libvirt also prints each error
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
        """Close the connection, if one is open."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(libvirt.libvirtError):
                    self._connection.close()
                self._connection = None


class Hypervisor:
    """The libvirt of one host.

    Methods raise ``HypervisorError`` if libvirt refuses or fails a call, and
    ``Disconnected`` if the connection is lost. Calls that can be repeated are
    repeated for 30 s before they raise ``Disconnected``.

    :param host: the host's name, for messages
    :param connect: returns an open connection; called for each use, so that
        a lost connection is not used again
    """

    def __init__(self, host: str, connect: Connect) -> None:
        self.host = host
        self.connect = connect

    @repeat.patient
    def versions(self) -> plan.Versions:
        """Return the versions of libvirt and of QEMU on this host."""
        with self.translated('report the versions'):
            connection = self.connect()
            return plan.Versions(
                libvirt=connection.getLibVersion(),
                hypervisor=connection.getVersion(),
            )

    @repeat.patient
    def find(self, guest: str) -> 'Guest | None':
        """Look up a guest by UUID or name; None if no such guest exists."""
        with self.translated(f'look up guest "{guest}"'):
            for lookup in ('lookupByUUIDString', 'lookupByName'):
                connection = self.connect()
                with _ignored(*_NOT_FOUND):
                    domain = getattr(connection, lookup)(guest)
                    return Guest(self, domain.name(), domain.UUIDString())
        return None

    def guest(self, guest: str) -> 'Guest':
        """Look up a guest by UUID or name.

        :raises GuestNotFound: the guest is not defined on this host
        """
        found = self.find(guest)
        if found is None:
            raise exception.GuestNotFound(guest=guest, host=self.host)
        return found

    @contextlib.contextmanager
    def translated(self, action: str) -> Iterator[None]:
        """Turn libvirt's errors into errors of this project.

        :param action: completes "libvirt on HOST failed to ..."
        """
        try:
            yield
        except libvirt.libvirtError as e:
            kind = exception.HypervisorError
            if e.get_error_domain() == libvirt.VIR_FROM_RPC:
                kind = exception.Disconnected
            raise kind(host=self.host, action=action, reason=e) from e


class Guest:
    """One guest on one host.

    The guest may have been removed from the host after the lookup.
    Methods raise the same errors as those of :class:`Hypervisor`.
    """

    def __init__(self, hypervisor: Hypervisor, name: str, uuid: str) -> None:
        self.name = name
        self.uuid = uuid
        self.host = hypervisor.host
        self._hypervisor = hypervisor

    @repeat.patient
    def power(self) -> Power:
        """Return the guest's state; OFF also if the guest is not defined."""
        with self._hypervisor.translated(f'read the state of {self.name}'):
            active, state, reason = False, libvirt.VIR_DOMAIN_SHUTOFF, 0
            with _ignored(libvirt.VIR_ERR_NO_DOMAIN):
                domain = self._domain()
                state, reason = domain.state()
                # a crashed guest may have its QEMU, and its disks open
                active = bool(domain.isActive())
        if not active:
            return Power.OFF
        if state == libvirt.VIR_DOMAIN_PAUSED:
            return _PAUSED.get(reason, Power.PAUSED)
        return _POWERS.get(state, Power.HALTED)

    def live_xml(self) -> str:
        """Return the running domain's XML, with secrets, for a migration."""
        return self._xml(
            libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
        )

    def running_xml(self) -> str:
        """Return the running domain's XML, with the block jobs."""
        return self._xml(0)

    @repeat.patient
    def persistent_xml(self) -> str | None:
        """Return the persistent definition; None if the guest has none."""
        with self._hypervisor.translated(f'read {self.name}'):
            persistent = False
            with _ignored(libvirt.VIR_ERR_NO_DOMAIN):
                persistent = bool(self._domain().isPersistent())
        if not persistent:
            return None
        return self._xml(
            libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE
        )

    @repeat.patient
    def define(self, xml: str) -> None:
        """Define or redefine the guest persistently on this host."""
        with self._hypervisor.translated('define a guest'):
            self._hypervisor.connect().defineXML(xml)

    @repeat.explained
    def pause(self) -> None:
        """Stop the guest's processors."""
        with self._hypervisor.translated(f'pause {self.name}'):
            self._domain().suspend()

    @repeat.patient
    def resume(self) -> bool:
        """Let the guest's processors run again.

        :returns: False if they run already, by order of another program
        """
        try:
            with self._hypervisor.translated(f'resume {self.name}'):
                self._domain().resume()
        except exception.Disconnected:
            raise
        except exception.HypervisorError:
            if self.power() is not Power.RUNNING:
                raise
            return False
        return True

    @repeat.explained
    def destroy(self) -> None:
        """End the guest's QEMU, as a loss of power would."""
        with self._hypervisor.translated(f'end {self.name}'):
            self._domain().destroy()

    def disturbed(self, reason: str) -> exception.Disturbed:
        """Make the error for a change by another program, and its remedy."""
        return exception.Disturbed(
            guest=self.name, host=self.host, reason=reason
        )

    def migrate(
        self, uri: str, parameters: dict[str, Any], flags: int
    ) -> None:
        """Run a live migration from this host and wait for the end.

        :param uri: the other host's libvirt, as seen from this host
        :param parameters: typed parameters of ``virDomainMigrateToURI3``
        :param flags: ``VIR_MIGRATE_*``
        """
        with self._hypervisor.translated(f'migrate {self.name} to {uri}'):
            self._domain().migrateToURI3(uri, parameters, flags)

    @repeat.explained
    def snapshot(self, xml: str) -> None:
        """Make the guest write to the deltas that a snapshot names.

        libvirt switches all disks or none, and keeps no record of the
        snapshot.

        :param xml: ``<domainsnapshot>``; the deltas exist already
        """
        flags = (
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
        )
        with self._hypervisor.translated(f'freeze the disks of {self.name}'):
            self._domain().snapshotCreateXML(xml, flags)

    @repeat.patient
    def limits(self, disk: str) -> dict[str, int]:
        """Return the I/O limits of a disk, by libvirt's names; 0 = no limit.

        Most values are bytes/s or requests/s (``virDomainGetBlockIoTune``).
        """
        with self._hypervisor.translated(f'read the limits of {self.name}'):
            found = self._domain().blockIoTune(
                disk, libvirt.VIR_DOMAIN_AFFECT_LIVE
            )
        return {k: v for k, v in found.items() if isinstance(v, int)}

    @repeat.patient
    def limit(self, disk: str, limits: dict[str, int]) -> None:
        """Set the I/O limits of a disk of the running guest only.

        :param limits: by libvirt's names, as :meth:`limits` returns them
        """
        with self._hypervisor.translated(f'limit {disk} of {self.name}'):
            self._domain().setBlockIoTune(
                disk, limits, libvirt.VIR_DOMAIN_AFFECT_LIVE
            )

    @repeat.patient
    def undefine(self) -> None:
        """Remove the guest's persistent definition only.

        The UEFI variables stay, and so does the state of a TPM. libvirt
        before 8.9 removes the latter. A guest that is not defined is no error.
        """
        flags = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
        if self._hypervisor.versions().libvirt >= _KEEPS_TPM:
            flags |= _KEEP_TPM
        with self._hypervisor.translated(f'undefine {self.name}'):
            with _ignored(libvirt.VIR_ERR_NO_DOMAIN):
                self._domain().undefineFlags(flags)

    @repeat.patient
    def domain_job(self) -> str | None:
        """Name the job that the whole guest has; None if it has none.

        Any program that uses libvirt may have started the job.
        """
        with self._hypervisor.translated(f'read the jobs of {self.name}'):
            found: dict[str, Any] = {}
            with _ignored(*_NO_JOB):
                found = self._domain().jobStats()
        if found.get('type') not in _RUNNING_JOB:
            return None
        return _DOMAIN_JOBS.get(found.get('operation'), 'unknown job')

    def migrating(self) -> bool:
        """Tell whether the guest is migrating to another host."""
        return self.domain_job() == MIGRATION

    @repeat.explained
    def abort_migration(self) -> None:
        """Abort the guest's migration, but no other job of the guest."""
        if self.migrating():
            with self._hypervisor.translated(f'abort the job of {self.name}'):
                self._domain().abortJob()

    @repeat.patient
    def ask(
        self, action: str, question: Callable[[libvirt.virDomain], Any]
    ) -> Any:
        """Ask libvirt about the guest.

        :param action: completes "libvirt on HOST failed to ..." with the
            guest's name
        :param question: changes nothing, so that it can be asked again
        """
        with self._hypervisor.translated(f'{action} {self.name}'):
            return question(self._domain())

    @repeat.patient
    def _xml(self, flags: int) -> str:
        with self._hypervisor.translated(f'read {self.name}'):
            return str(self._domain().XMLDesc(flags))

    def _domain(self) -> libvirt.virDomain:
        return self._hypervisor.connect().lookupByUUIDString(self.uuid)


def _silent(_context: None, _error: tuple[Any, ...]) -> None:
    pass


@contextlib.contextmanager
def _ignored(*codes: int) -> Iterator[None]:
    """Ignore errors of libvirt that have one of these codes."""
    try:
        yield
    except libvirt.libvirtError as e:
        if e.get_error_code() not in codes:
            raise
