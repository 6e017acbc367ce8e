# SPDX-License-Identifier: Apache-2.0
"""A libvirt in memory: hosts, their guests, and block copies of these.

It obeys libvirt where the project depends on it. Above it everything is
real: guests, drivers, copies, both sides of a migration.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import libvirt
from lxml import etree

from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.drivers import contract
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.tests.unit import samples

#: What a fake copy has to carry, in bytes.
TOTAL = 1000
#: Of a disk's requests, by libvirt's names.
LIMITS = (
    'size_iops_sec',
    *(
        f'{of}_{what}_sec{end}'
        for of in ('total', 'read', 'write')
        for what in ('bytes', 'iops')
        for end in ('', '_max', '_max_length')
    ),
)


def libvirt_error(
    code: int = libvirt.VIR_ERR_INTERNAL_ERROR,
    message: str = 'it broke',
    domain: int = libvirt.VIR_FROM_NONE,
) -> libvirt.libvirtError:
    error = libvirt.libvirtError(message)
    # its constructor takes the last real error of this thread, if any
    error.args = (message,)
    error.err = (code, domain, message, 2, None, None, None, 0, 0)
    return error


Carry = Callable[['Machine', str, 'Job'], None]


@dataclasses.dataclass(slots=True, kw_only=True)
class Job:
    """A block job. It carries ``pace`` bytes between two looks at it.

    A shallow one carries the top layer only.
    """

    base: model.Image
    commit: bool = False
    #: The highest layer to merge, if it is not what the guest writes to.
    top: str | None = None
    shallow: bool = False
    processed: int = 0
    total: int = TOTAL
    ready: bool = False
    bandwidth: int = 0


class Machine:
    """A running guest with its disks and its copies.

    ``speeds`` are the limits of each disk's copy, in order, and ``limits``
    those of the guest's own requests. ``on_pivot`` can refuse by what it
    raises, and so can the other hooks; a disk in ``lost`` loses its job at
    its pivot. ``carry`` moves real bytes, if there are any, as what a job of
    a disk has done by its pivot.
    """

    def __init__(self, xml: str, definition: str | None = None) -> None:
        self.xml = xml
        self.definition = definition
        self.name = domxml.guest_name(xml)
        self.uuid = domxml.parse(xml).findtext('uuid') or ''
        self.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)
        self.pace = TOTAL // 2
        #: Looks at jobs before they know what to copy.
        self.unbegun = 0
        self.jobs: dict[str, Job] = {}
        self.started: list[tuple[str, model.Image]] = []
        self.speeds: dict[str, list[int]] = {}
        self.limits: dict[str, dict[str, int]] = {}
        #: What other programs did: block jobs by their type, snapshots and
        #: checkpoints by name, and new sizes of disks.
        self.foreign: dict[str, int] = {}
        self.snapshots: list[str] = []
        self.checkpoints: list[str] = []
        self.sizes: dict[str, int] = {}
        #: The bytes and requests that the guest has written to a disk.
        self.on_count: Callable[[str], tuple[int, int]] = lambda _disk: (0, 0)
        self.on_limit: Callable[[str], None] = lambda _disk: None
        self.on_start: Callable[[str], None] = lambda _disk: None
        self.on_pivot: Callable[[str], None] = lambda _disk: None
        self.on_abort: Callable[[str], None] = lambda _disk: None
        self.carry: Carry = lambda _machine, _disk, _job: None
        self.lost: set[str] = set()
        #: Whether its definition follows it, as libvirt has it at best.
        self.follows = True
        #: Disks whose job stays although its end was accepted.
        self.stays: set[str] = set()

    @property
    def off(self) -> bool:
        return bool(self.condition[0] == libvirt.VIR_DOMAIN_SHUTOFF)

    def power_off(self) -> None:
        """Its process ends; its jobs, what is in memory, are gone."""
        self.condition = (libvirt.VIR_DOMAIN_SHUTOFF, 0)
        self.jobs.clear()

    def start(
        self,
        disk: str,
        image: model.Image,
        bandwidth: int,
        *,
        commit: bool = False,
        shallow: bool = False,
        top: str | None = None,
    ) -> None:
        if self.off or disk in self.jobs:
            raise exception.DriverError(
                action='start', disk=disk, reason='it has a job, or is off'
            )
        self.on_start(disk)
        self.started.append((disk, image))
        self.speeds.setdefault(disk, []).append(bandwidth)
        self.jobs[disk] = Job(
            base=image,
            bandwidth=bandwidth,
            commit=commit,
            top=top,
            # libvirt lets go of it, and says nothing, if there is one layer
            shallow=shallow and self.source(disk).backing is not None,
        )

    def set_speed(self, disk: str, bandwidth: int) -> None:
        self._job(disk).bandwidth = bandwidth
        self.speeds.setdefault(disk, []).append(bandwidth)

    def look(self, disk: str) -> Job | None:
        """Let a copy go on, and look at it."""
        job = self.jobs.get(disk)
        if job is not None and self.unbegun:
            self.unbegun -= 1
            return dataclasses.replace(job, total=0)
        if job is not None:
            job.processed = min(TOTAL, job.processed + self.pace)
            job.ready = job.processed == TOTAL
        if job is not None and job.ready and job.top is not None:
            # it ends by itself
            del self.jobs[disk]
            self.carry(self, disk, job)
            self.xml = with_source(
                self.xml, disk, _lowered(self.source(disk), job.base)
            )
            return None
        return job

    def pivot(self, disk: str) -> None:
        self._job(disk)
        self.on_pivot(disk)
        job = self._job(disk)
        if not job.ready:
            raise exception.NotReady(disk=disk)
        if disk in self.stays:
            return
        del self.jobs[disk]
        if disk not in self.lost:
            self.carry(self, disk, job)
            self.use({disk: job.base})

    def use(self, images: dict[str, model.Image]) -> None:
        """Run on other images, and have the definition follow.

        It does so only where it named what was used so far.
        """
        for disk, image in images.items():
            before = self.source(disk)
            self.xml = with_source(self.xml, disk, image)
            if self.follows and self.definition is not None:
                defined = domxml.disks(self.definition)[disk].source
                if _place(defined) == _place(before):
                    self.definition = with_source(self.definition, disk, image)

    def abort(self, disk: str) -> None:
        self._job(disk)
        self.on_abort(disk)
        if disk not in self.stays:
            del self.jobs[disk]

    def shown(self) -> str:
        """The running domain, with its copies."""
        root = etree.fromstring(self.xml)
        for disk, job in self.jobs.items():
            if job.top is not None:
                continue
            mirror = etree.SubElement(_disk(root, disk), 'mirror')
            attribute = {'block': 'dev', 'file': 'file'}[job.base.kind]
            etree.SubElement(mirror, 'source', {attribute: job.base.path})
            if job.ready:
                mirror.set('ready', 'yes')
        return etree.tostring(root, encoding='unicode')

    def limit(self, disk: str, values: dict[str, int]) -> None:
        """Limit what the guest does, or refuse it as libvirt would."""
        self.on_limit(disk)
        wanted = {**self.limits_of(disk), **values}
        for name in ('bytes_sec', 'iops_sec'):
            total, *parts = (
                wanted[f'{of}_{name}'] for of in ('total', 'read', 'write')
            )
            if total and any(parts):
                raise libvirt_error(
                    libvirt.VIR_ERR_INVALID_ARG,
                    f'total and read/write of {name} at the same time',
                )
        for name, value in wanted.items():
            if name.endswith('_max') and 0 < value:
                usual = wanted[name.removesuffix('_max')]
                if not 0 < usual <= value:
                    raise libvirt_error(
                        libvirt.VIR_ERR_INVALID_ARG, f'{name} is too small'
                    )
        self.limits[disk] = wanted

    def limits_of(self, disk: str) -> dict[str, int]:
        return {**dict.fromkeys(LIMITS, 0), **self.limits.get(disk, {})}

    def source(self, disk: str) -> Any:
        return domxml.disks(self.xml)[disk].source

    def _job(self, disk: str) -> Job:
        if disk not in self.jobs:
            raise exception.DriverError(
                action='find the job', disk=disk, reason='there is none'
            )
        return self.jobs[disk]


def _lowered(top: model.Image, onto: model.Image) -> model.Image:
    """An image that has come to lie on a lower one."""
    return dataclasses.replace(top, backing=onto)


def _disk(root: Any, target: str) -> Any:
    return root.xpath(f'devices/disk[target/@dev="{target}"]')[0]


def _place(source: Any) -> Any:
    return getattr(source, 'path', source)


def with_source(xml: str, target: str, image: model.Image) -> str:
    """A domain whose disk has become this image, as after a pivot."""
    root = etree.fromstring(xml)
    disk = _disk(root, target)
    for name in ('source', 'backingStore'):
        for child in disk.findall(name):
            disk.remove(child)
    attribute = {'block': 'dev', 'file': 'file'}[image.kind]
    disk.set('type', image.kind)
    disk.find('driver').set('type', image.format)
    etree.SubElement(disk, 'source', {attribute: image.path})
    disk.append(etree.fromstring(samples.store_xml(image.backing)))
    return etree.tostring(root, encoding='unicode')


@dataclasses.dataclass(frozen=True)
class Named:
    """A snapshot, or a checkpoint."""

    name: str

    def getName(self) -> str:
        return self.name


class Domain:
    """A machine as libvirt-python shows it."""

    def __init__(self, connection: 'Connection', machine: Machine) -> None:
        self._connection = connection
        self._machine = machine

    def name(self) -> str:
        return self._machine.name

    def UUIDString(self) -> str:
        return self._machine.uuid

    def state(self) -> list[int]:
        return list(self._machine.condition)

    def isActive(self) -> int:
        return int(not self._machine.off)

    def listAllSnapshots(self) -> list['Named']:
        return [Named(name) for name in self._machine.snapshots]

    def listAllCheckpoints(self) -> list['Named']:
        return [Named(name) for name in self._machine.checkpoints]

    def blockInfo(self, disk: str) -> list[int]:
        self._check_active()
        size = self._machine.sizes.get(disk, 0)
        # QEMU has the image open, even if its file is gone
        with contextlib.suppress(exception.ImageError):
            size = size or images.size(self._machine.source(disk))
        return [size, 0, 0]

    def blockStatsFlags(self, disk: str) -> dict[str, int]:
        self._check_active()
        bytes_, requests = self._machine.on_count(disk)
        return {'wr_bytes': bytes_, 'wr_operations': requests}

    def isPersistent(self) -> int:
        return int(self._machine.definition is not None)

    def XMLDesc(self, flags: int = 0) -> str:
        self._connection.on_read()
        if flags & libvirt.VIR_DOMAIN_XML_INACTIVE or self._machine.off:
            return self._machine.definition or self._machine.xml
        if flags & libvirt.VIR_DOMAIN_XML_MIGRATABLE:
            return self._machine.xml
        return self._machine.shown()

    def suspend(self) -> int:
        self._machine.condition = (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_USER,
        )
        return 0

    def resume(self) -> int:
        if self._machine.condition[1] == libvirt.VIR_DOMAIN_PAUSED_USER:
            self._machine.condition = (libvirt.VIR_DOMAIN_RUNNING, 1)
        self._connection.on_resume(self._machine)
        return 0

    def jobStats(self, flags: int = 0) -> dict[str, int]:
        self._check_active()
        if flags & libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED:
            return {'downtime': 77_000}
        operation = self._connection.job
        if operation == libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN:
            return {'type': libvirt.VIR_DOMAIN_JOB_NONE}
        return {
            'type': libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            'operation': operation,
        }

    def abortJob(self) -> int:
        self._connection.on_abort_job()
        return 0

    def migrateToURI3(
        self, uri: str, parameters: dict[str, Any], flags: int
    ) -> int:
        here, there = self._connection, self._connection.peers[uri]
        here.migrations.append((uri, parameters, flags))
        here.job = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
        try:
            here.on_migrate(self._machine)
        finally:
            if not here.lingers:
                here.job = libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN
        del here.machines[self._machine.uuid]
        arriving = Machine(
            parameters[libvirt.VIR_MIGRATE_PARAM_DEST_XML],
            parameters.get(libvirt.VIR_MIGRATE_PARAM_PERSIST_XML),
        )
        arriving.carry = there.carry
        there.machines[self._machine.uuid] = there.settle(arriving)
        here.after_migrate()
        return 0

    def snapshotCreateXML(self, xml: str, flags: int) -> None:
        self._connection.snapshots.append((xml, flags))
        self._connection.on_snapshot(self._machine)
        if self._connection.deaf:
            return
        disks: Any = etree.fromstring(xml).xpath('disks/disk[source]')
        self._machine.use(
            {
                disk.get('name'): model.overlay(
                    disk.find('source').get('file'),
                    self._machine.source(disk.get('name')),
                )
                for disk in disks
            }
        )
        self._connection.after_snapshot(self._machine)

    def undefineFlags(self, flags: int) -> int:
        self._connection.undefined.append(flags)
        del self._connection.machines[self._machine.uuid]
        return 0

    def blockCommit(
        self,
        disk: str,
        into: str,
        top: str | None,
        bandwidth: int,
        flags: int,
    ) -> int:
        self._connection.block_commits.append((disk, into, bandwidth, flags))
        layers = model.chain(self._machine.source(disk))
        (image,) = (layer for layer in layers if layer.path == into)
        self._job(
            lambda: self._machine.start(
                disk, image, bandwidth, commit=True, top=top
            )
        )
        return 0

    def blockCopy(
        self, disk: str, xml: str, parameters: dict[str, int], flags: int
    ) -> int:
        self._connection.block_copies.append((disk, xml, parameters, flags))
        root = etree.fromstring(xml)
        etree.SubElement(root, 'target', dev=disk)
        text = etree.tostring(root, encoding='unicode')
        image = domxml.disks(samples.domain(text))[disk].source
        assert isinstance(image, model.Image)
        bandwidth = parameters.get(libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH, 0)
        shallow = bool(flags & libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW)
        self._job(
            lambda: self._machine.start(
                disk, image, bandwidth, shallow=shallow
            )
        )
        return 0

    def blockIoTune(self, disk: str, flags: int) -> dict[str, Any]:
        self._connection.limit_flags.append(flags)
        self._check_active()
        # as libvirt has it: where a disk is of no group, by its alias
        return {'group_name': f'drive-{disk}', **self._machine.limits_of(disk)}

    def setBlockIoTune(
        self, disk: str, limits: dict[str, int], flags: int
    ) -> int:
        self._connection.limit_flags.append(flags)
        self._check_active()
        self._machine.limit(disk, limits)
        return 0

    def _check_active(self) -> None:
        if self._machine.off:
            raise libvirt_error(
                libvirt.VIR_ERR_OPERATION_INVALID, 'domain is not running'
            )

    def blockJobInfo(self, disk: str, flags: int = 0) -> dict[str, int]:
        self._connection.job_flags.append(flags)
        foreign = self._machine.foreign.get(disk)
        if foreign is not None:
            return {'type': foreign, 'bandwidth': 0, 'cur': 1, 'end': 2}
        job = self._machine.look(disk)
        if job is None:
            return {}
        kind = libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY
        if job.commit:
            kind = libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT
        if job.top is not None:
            kind = libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT
        return {
            'type': kind,
            'bandwidth': job.bandwidth,
            'cur': job.processed,
            'end': job.total,
        }

    def blockJobSetSpeed(self, disk: str, speed: int, flags: int) -> int:
        self._connection.job_flags.append(flags)
        self._job(lambda: self._machine.set_speed(disk, speed))
        return 0

    def blockJobAbort(self, disk: str, flags: int) -> int:
        self._connection.job_flags.append(flags)
        if flags & libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT:
            self._job(lambda: self._machine.pivot(disk))
        else:
            self._job(lambda: self._machine.abort(disk))
        return 0

    @staticmethod
    def _job(act: Callable[[], None]) -> None:
        try:
            act()
        except exception.NotReady as e:
            code = libvirt.VIR_ERR_BLOCK_COPY_ACTIVE
            raise libvirt_error(code, str(e)) from e
        except exception.DriverError as e:
            code = libvirt.VIR_ERR_OPERATION_INVALID
            raise libvirt_error(code, str(e)) from e


class Connection:
    """One host's libvirt, with what it was asked for."""

    def __init__(self, *machines: Machine) -> None:
        self.machines = {machine.uuid: machine for machine in machines}
        #: Other hosts by the URI at which this one reaches them.
        self.peers: dict[str, Connection] = {}
        self.library = 9_000_000
        self.emulator = 7_002_000
        #: The operation of a domain job.
        self.job: int = libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN
        #: Whether a migration that has failed keeps its job.
        self.lingers = False
        self.broken: libvirt.libvirtError | None = None
        self.migrations: list[tuple[str, dict[str, Any], int]] = []
        self.block_copies: list[tuple[str, str, dict[str, int], int]] = []
        self.block_commits: list[tuple[str, str, int, int]] = []
        self.snapshots: list[tuple[str, int]] = []
        self.undefined: list[int] = []
        self.job_flags: list[int] = []
        self.limit_flags: list[int] = []
        #: Takes definitions and snapshots, and does nothing with them.
        self.deaf = False
        self.networks: dict[str, Any] = {}
        self.on_version: Callable[[], None] = lambda: None
        self.on_capabilities: Callable[[], None] = lambda: None
        self.on_compare: Callable[[], int] = lambda: (
            libvirt.VIR_CPU_COMPARE_SUPERSET
        )
        self.on_read: Callable[[], None] = lambda: None
        self.on_resume: Callable[[Machine], None] = lambda _machine: None
        self.on_snapshot: Callable[[Machine], None] = lambda _machine: None
        self.after_snapshot: Callable[[Machine], None] = lambda _machine: None
        self.on_abort_job: Callable[[], None] = lambda: None
        self.on_migrate: Callable[[Machine], None] = lambda _machine: None
        self.after_migrate: Callable[[], None] = lambda: None
        #: Sees each machine that arrives.
        self.settle: Callable[[Machine], Machine] = lambda machine: machine
        #: What each machine that arrives carries real bytes with.
        self.carry: Carry = lambda _machine, _disk, _job: None

    def getLibVersion(self) -> int:
        self.on_version()
        return self.library

    def getVersion(self) -> int:
        return self.emulator

    def getDomainCapabilities(self, *_machine: str | None) -> str:
        self.on_capabilities()
        return '<domainCapabilities/>'

    def compareHypervisorCPU(self, *_machine: str | None) -> int:
        return self.on_compare()

    def networkLookupByName(self, name: str) -> Any:
        if name not in self.networks:
            raise libvirt_error(libvirt.VIR_ERR_NO_NETWORK, 'no network')
        return self.networks[name]

    def lookupByUUIDString(self, uuid: str) -> Domain:
        if self.broken is not None:
            raise self.broken
        if uuid.count('-') != 4:
            raise libvirt_error(libvirt.VIR_ERR_INVALID_ARG, 'no UUID')
        if uuid not in self.machines:
            raise libvirt_error(libvirt.VIR_ERR_NO_DOMAIN, 'no domain')
        return Domain(self, self.machines[uuid])

    def lookupByName(self, name: str) -> Domain:
        for machine in self.machines.values():
            if machine.name == name:
                return Domain(self, machine)
        raise libvirt_error(libvirt.VIR_ERR_NO_DOMAIN, 'no domain')

    def defineXML(self, xml: str) -> Domain:
        uuid = domxml.parse(xml).findtext('uuid') or ''
        if uuid not in self.machines:
            self.machines[uuid] = Machine(xml, xml)
            self.machines[uuid].power_off()
        machine = self.machines[uuid]
        if not self.deaf:
            machine.definition = xml
        return Domain(self, machine)

    def hypervisor(self, name: str) -> hypervisor.Hypervisor:
        return hypervisor.Hypervisor(name, lambda: self)


class Driver(contract.CopyDriver):
    """A copy driver without a hypervisor: it works on one machine."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(
            contract.Access(uri='fake:///', connect=Connection, timeout=10)
        )
        self._machine = machine
        self.settings: list[tuple[str, model.CopySettings]] = []

    def start(
        self,
        guest: str,
        disk: str,
        base: model.Image,
        settings: model.CopySettings,
    ) -> None:
        self._machine.start(
            disk, base, settings.bandwidth, shallow=settings.shallow
        )
        self.settings.append((disk, settings))

    def commit(
        self,
        guest: str,
        disk: str,
        into: model.Image,
        bytes_per_s: int,
        *,
        top: model.Image | None = None,
    ) -> None:
        self._machine.start(
            *(disk, into, bytes_per_s),
            commit=True,
            top=None if top is None else top.path,
        )

    def set_speed(self, guest: str, disk: str, bytes_per_s: int) -> None:
        self._machine.set_speed(disk, bytes_per_s)

    def pivot(self, guest: str, disk: str) -> None:
        self._machine.pivot(disk)

    def abort(self, guest: str, disk: str) -> None:
        self._machine.abort(disk)

    def _job_info(self, guest: str, disk: str) -> contract.JobInfo | None:
        job = self._machine.look(disk)
        if job is None:
            return None
        kinds = contract.JobKind
        kind = kinds.ACTIVE_COMMIT if job.commit else kinds.COPY
        return contract.JobInfo(
            processed=job.processed,
            total=job.total,
            bandwidth=job.bandwidth,
            kind=kind if job.top is None else kinds.COMMIT,
        )

    def _domain_xml(self, guest: str) -> str:
        return self._machine.shown()


class Exporter:
    """The NBD servers of a host, without any.

    ``log`` has what was done to which disk, ``started`` and ``revived`` have
    the exports, each with its image. ``peers`` has the hosts that they serve.
    ``tls`` means that the exports are encrypted.
    """

    def __init__(self) -> None:
        self.served: dict[str, model.Image] = {}
        self.log: list[str] = []
        self.peers: set[str] = set()
        self.tls = False
        self.started: list[tuple[model.Export, model.Image]] = []
        self.revived: list[tuple[model.Export, model.Image]] = []
        self.on_start: Callable[[str], None] = lambda _disk: None
        self.on_stop: Callable[[], None] = lambda: None

    def _size(self, planned: model.Export, image: model.Image) -> int:
        if planned.content:
            return images.size(image)
        if planned.writable and image.format is model.ImageFormat.QCOW2:
            # a short one, because the fakes copy files with their holes
            os.truncate(image.path, images.length(image.path) + 2**20)
        return images.length(image.path)

    def start(
        self, planned: model.Export, image: model.Image, peer: str = ''
    ) -> model.Export:
        self.on_start(planned.disk)
        self.peers.add(peer)
        self.log.append(f'start {planned.disk}')
        self.served[planned.name] = image
        started = dataclasses.replace(
            planned,
            tls=self.tls,
            address='192.0.2.1',
            port=49215 + len(self.served),
            pid=1,
            size_bytes=self._size(planned, image),
        )
        self.started.append((started, image))
        return started

    def alive(self, export: model.Export) -> bool:
        return export.name in self.served

    def revive(
        self, export: model.Export, image: model.Image, peer: str = ''
    ) -> model.Export:
        if self.alive(export):
            return export
        self.peers.add(peer)
        self.log.append(f'revive {export.disk}')
        self.served[export.name] = image
        self.revived.append((export, image))
        return dataclasses.replace(export, pid=export.pid + 1)

    def stop(self, exports: tuple[model.Export, ...]) -> None:
        self.on_stop()
        for export in exports:
            self.log.append(f'stop {export.disk}')
            self.served.pop(export.name, None)
