# SPDX-License-Identifier: Apache-2.0
"""Scenes: a guest with disks on host a, bases on host b, and the engine.

The functional tests, the demo and the benchmarks start from a scene.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import IO
from typing import Any

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy import progress
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.destination import dispatcher
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.migration.source import recovery
from nova_blockcopy.records import journal
from nova_blockcopy.records import lock
from nova_blockcopy.tests.lab import disks
from nova_blockcopy.tests.lab import guest
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab as labs
from nova_blockcopy.tests.lab import records

MIB = 1024 * 1024


def settings(at: host.Host, **overrides: Any) -> conf.Settings:
    """Return the engine's settings on one host of a lab."""
    options = cfg.ConfigOpts()
    conf.register_opts(options)
    options([])
    values = {
        'journal_dir': str(at.home / 'journal'),
        'delta_dir': str(at.home / 'deltas'),
        'delta_min_free': 64,
        'export_address': at.address,
        'allow_plaintext': True,
        'export_tls_dir': str(at.certificates),
        'poll_interval': 0.1,
        'call_timeout': 30,
        **overrides,
    }
    return conf.settings(options, **values)


@dataclasses.dataclass(slots=True, kw_only=True)
class Scene:
    """One guest, its host, and the host that it migrates to.

    ``sources``, ``bases`` and ``contents`` are by target. ``contents`` has
    the checksums of the parts that the guest does not write to, from before
    its start. A guest that writes at random places has no checksums.
    """

    lab: labs.Lab
    home: host.Host
    away: host.Host
    guest: guest.Guest
    sources: dict[str, disks.Disk]
    bases: dict[str, disks.Disk]
    contents: dict[str, str]
    overrides: dict[str, Any]

    @classmethod
    def set(
        cls,
        it: labs.Lab,
        kinds: tuple[str, ...],
        *,
        size: int = 64 * MIB,
        data: int = 24 * MIB,
        region: int = 8 * MIB,
        interval: float = 0.01,
        load: int = 0,
        load_length: int = 8 * MIB,
        base_kinds: tuple[str, ...] | None = None,
        chaos: float = 0,
        discards: bool = True,
        reader: float = 0,
        cache: str = 'none',
        lazy: bool = False,
        acpi: bool = False,
        firmware: bool = False,
        prefix: str = '',
        **overrides: Any,
    ) -> 'Scene':
        """Make images and bases, and start the guest.

        See :class:`guest.Guest` for ``interval``, ``load_length``, ``chaos``,
        ``discards``, ``reader``, ``cache``, ``lazy``, ``acpi`` and
        ``firmware``.

        :param kinds: one for each disk; see :meth:`disks.Maker.of_kind`
        :param size: bytes of each disk
        :param data: bytes of each disk that are filled before the start
        :param region: bytes of each disk for records
        :param load: other writes of the guest to each disk, in bytes/s
        :param prefix: of the names of the images, if there are more guests
        :param base_kinds: kinds of the bases; None = the same as the disks
        :param overrides: options of the engine
        """
        here, there = (
            disks.Maker(each, it.directory) for each in (it.a, it.b)
        )
        names = [f'vd{"abcdefgh"[n]}' for n in range(len(kinds))]
        sources, bases = {}, {}
        for seed, (target, kind, base_kind) in enumerate(
            zip(names, kinds, base_kinds or kinds, strict=True)
        ):
            name = f'{prefix}{target}.img'
            source = here.of_kind(kind, name, size, seed)
            bases[target] = there.of_kind(base_kind, name, size, seed)
            if data:
                _prefill(it.a, source, seed, MIB + region, data)
            sources[target] = source
        machine = guest.Guest(
            it.hosts,
            [source.image for source in sources.values()],
            region=region,
            interval=interval,
            load=load,
            load_length=load_length,
            chaos=chaos,
            discards=discards,
            reader=reader,
            cache=cache,
            lazy=lazy,
            acpi=acpi,
            firmware=firmware,
        )
        contents = (
            {}
            if machine.writes_anywhere
            else {
                target: _digest(it.a, source, machine.written)
                for target, source in sources.items()
            }
        )
        machine.start(it.a)
        return cls(
            lab=it,
            home=it.a,
            away=it.b,
            guest=machine,
            sources=sources,
            bases=bases,
            contents=contents,
            overrides=overrides,
        )

    def migration(
        self,
        listener: Callable[[progress.Progress], None] = lambda _now: None,
        *,
        bases: Mapping[str, model.BaseRequest] | None = None,
        observers: Mapping[str, events.Observer] | None = None,
        **changes: Any,
    ) -> engine.Migration:
        """Return a migration of the guest, which is ready to run.

        :param listener: called with the progress
        :param bases: requests for other bases than those of the scene
        :param observers: one more for each host, by the name of the host
        :param changes: fields of the request, or options of the engine
        """
        fields = {field.name for field in dataclasses.fields(engine.Request)}
        request = engine.Request(
            **{
                'guest': self.guest.name,
                'bases': self.base_requests() if bases is None else bases,
                'home': endpoint(self.home),
                'destination': endpoint(self.away),
                'peer': self.away.hostname,
                **{k: v for k, v in changes.items() if k in fields},
            }
        )
        options = {
            **self.overrides,
            **{k: v for k, v in changes.items() if k not in fields},
        }
        here, there = (
            [seen for name, seen in (observers or {}).items() if name == each]
            for each in (self.home.name, self.away.name)
        )
        return self.home.call(
            *(self._wire, request, options),
            self.away.call(receiver, self.away, there, **options),
            (events.on_progress(listener), *here),
        )

    def _wire(
        self,
        request: engine.Request,
        options: dict[str, Any],
        there: dispatcher.Dispatcher,
        observers: tuple[events.Observer, ...],
    ) -> engine.Migration:
        answer = functools.partial(self.away.call, there.handle)
        connect = hypervisor.Connector(self.home.uri)
        return engine.Migration(
            request,
            hypervisor.Hypervisor(self.home.hostname, connect),
            peer.InProcess(answer),
            settings(self.home, **options),
            observers=observers,
        )

    def settle(self) -> model.Role | None:
        """Let the engine settle the migration on both hosts after a crash.

        :returns: the side that the guest belongs to now; None if the source
            has no journal of it
        """
        return self.home.call(self._settle)

    def _settle(self) -> model.Role | None:
        # as nova-compute does when it starts
        for at in (self.home, self.away):
            at.call(lock.tidy, settings(at, **self.overrides).journal_dir)
        there = self.away.call(receiver, self.away, **self.overrides)
        connect = hypervisor.Connector(self.home.uri)
        options = settings(self.home, **self.overrides)
        records_ = journal.Journal(options.journal_dir)
        record = records_.find(self.guest.uuid)
        if record is None:
            return None
        side = recovery.settle(
            record,
            hypervisor.Hypervisor(self.home.hostname, connect),
            peer.InProcess(functools.partial(self.away.call, there.handle)),
            options,
        )
        records_.close(self.guest.uuid)
        return side

    def reversed(self) -> 'Scene':
        """Return a scene for the way back of a guest that has migrated."""
        return dataclasses.replace(
            self,
            home=self.away,
            away=self.home,
            sources=self.bases,
            bases=self.sources,
        )

    def empty_bases(self) -> None:
        """Make the bases empty again."""
        maker = disks.Maker(self.away, self.lab.directory)
        for base in self.bases.values():
            maker.empty(base)

    def base_requests(self) -> dict[str, model.BaseRequest]:
        """Return requests for the bases of the scene, by target."""
        return {
            target: model.BaseRequest(
                path=base.path,
                format=base.image.format,
                whole=self.sources[target].image.backing is not None
                and base.image.backing is None,
            )
            for target, base in self.bases.items()
        }

    def run(self, it: engine.Migration) -> journal.Record:
        """Run a migration on the guest's host, and wait for its end."""
        return self.home.call(it.run)

    def verdicts(self, at: host.Host) -> list[records.Verdict]:
        """Check all records on the disks of a host.

        A running guest is paused and stays paused.

        :param at: the host that the guest belongs to
        """
        if self.guest.runs_on():
            self.guest.pause(at)
        self.guest.log.stop()
        return self._verdicts(at)

    def interim_verdicts(self, at: host.Host) -> list[records.Verdict]:
        """Check all records of a running guest, which is paused meanwhile."""
        self.guest.pause(at)
        try:
            return self._verdicts(at)
        finally:
            self.guest.resume(at)

    def _verdicts(self, at: host.Host) -> list[records.Verdict]:
        return [
            records.check(
                target,
                self._content(at, target),
                self.guest.region,
                self.guest.log.written(target),
            )
            for target in self.guest.targets
        ]

    def changed(self, at: host.Host) -> list[str]:
        """Return the disks of a paused guest with damage outside the records.

        The check does not cover a guest that writes at random places; use
        :mod:`inspection` for such a guest.
        """
        return [
            target
            for target, before in self.contents.items()
            if _digest(at, self.disks_at(at)[target], self.guest.written)
            != before
        ]

    def disks_at(self, at: host.Host) -> dict[str, disks.Disk]:
        """Return the images of the guest on a host, by target."""
        return self.sources if at is self.home else self.bases

    def _content(self, at: host.Host, target: str) -> bytes:
        with disks.opened(at, self.disks_at(at)[target]) as f:
            f.seek(self.guest.region.offset)
            return f.read(self.guest.region.length)


def receiver(
    at: host.Host, observers: Iterable[events.Observer] = (), **options: Any
) -> dispatcher.Dispatcher:
    """Return the engine's destination side; call this in a host's thread."""
    return dispatcher.Dispatcher(
        hypervisor.Hypervisor(at.hostname, hypervisor.Connector(at.uri)),
        settings(at, **options),
        observers=observers,
    )


def endpoint(at: host.Host) -> model.Endpoint:
    """Return the addresses at which the other host reaches a host."""
    return model.Endpoint(uri=at.peer_uri, migrate_uri=f'tcp://{at.address}')


def _digest(at: host.Host, disk: disks.Disk, region: records.Region) -> str:
    """Return a checksum of the guest-visible content without a region."""
    with disks.opened(at, disk) as f:
        return digest_of(f, region)


def digest_of(f: IO[bytes], region: records.Region) -> str:
    """Return a checksum of a file without a region."""
    total = hashlib.sha256(f.read(region.offset))
    f.seek(region.length, os.SEEK_CUR)
    while chunk := f.read(4 * MIB):
        total.update(chunk)
    return total.hexdigest()


def _prefill(
    at: host.Host, disk: disks.Disk, seed: int, offset: int, length: int
) -> None:
    """Write data to a disk before the start of its guest."""
    if disk.image.format is model.ImageFormat.RAW:
        disks.fill(disk.file, seed, offset, length)
        return
    at.run(
        *('qemu-io', '-f', 'qcow2', '-c'),
        *(f'write -P {0xA0 + seed} {offset} {length}', disk.path),
    )


def versions(at: host.Host) -> plan.Versions:
    """Return a host's versions; call this in a thread of the host."""
    connect = hypervisor.Connector(at.uri)
    return hypervisor.Hypervisor(at.hostname, connect).versions()
