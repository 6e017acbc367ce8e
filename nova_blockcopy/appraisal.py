# SPDX-License-Identifier: Apache-2.0
"""The appraisal of a migration that has not begun. Pure.

The facts come from both hosts, and the figures and refusals follow from them.
Each host lists all of its refusals, so that a person can remove all of them
before the next attempt.
"""

import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping

from nova_blockcopy import bandwidth
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy import outlook
from nova_blockcopy import plan

#: Bitmaps of QEMU's mirror with one bit for each unit of the granularity:
#: the dirty bitmap and in_flight_bitmap (block/mirror.c).
_BITMAPS = 2
#: Bytes of a cluster of a qcow2 that Nova makes (cluster_size of qemu-img).
_CLUSTER = 65536
#: The alignment of direct writes, in bytes: of most block devices, and the
#: page that QEMU assumes for a file (raw_probe_alignment in
#: block/file-posix.c).
_ALIGNMENT = {model.ImageKind.BLOCK: 512, model.ImageKind.FILE: 4096}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk that moves.

    ``travel_bytes`` are those of the first round of seeding, or of the whole
    copy in direct mode. ``whole`` is that of :class:`model.BaseRequest`.
    """

    disk: str
    image: model.Image
    size_bytes: int
    travel_bytes: int
    whole: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A base that the destination is to have room for.

    ``kind`` is that of the disk on the source. ``path`` is the base, if it
    exists already; otherwise it is the disk on the source.
    """

    disk: str
    path: str
    kind: model.ImageKind
    size_bytes: int
    travel_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The room at one place of a host, in bytes.

    ``needed_bytes`` are needed at least. ``most_bytes`` may be needed in time.
    """

    purpose: str
    place: str
    free_bytes: int
    needed_bytes: int
    most_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of the other host that a host has tried.

    ``fault`` is empty if the port answers.
    """

    purpose: str
    address: str
    fault: str = ''


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The facts of one host.

    ``libvirt`` and ``hypervisor`` are those of :class:`plan.Versions`; 0 if
    they are not known. ``refusals`` are against any migration, and
    ``unseeded`` only against seeded mode. ``address`` is that of the host's
    libvirt; empty if it is not known. ``link_rate`` is the measured rate in
    bytes/s at which bytes come from the other host; 0 if it is not known.
    """

    host: str
    libvirt: int = 0
    hypervisor: int = 0
    tls: bool = False
    address: str = ''
    rooms: tuple[Room, ...] = ()
    ports: tuple[Port, ...] = ()
    refusals: tuple[str, ...] = ()
    unseeded: tuple[str, ...] = ()
    link_rate: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A guest that the source may send; the destination is asked about it.

    ``name`` is that of the guest, and ``peer`` that of the source. ``home`` is
    how the destination's libvirt reaches the source. ``rehearsal`` is a port
    of the source to connect to; None if there is none. ``measures`` asks for
    the rate of the network.
    """

    name: str
    peer: str
    home: model.Endpoint
    rehearsal: model.Rehearsal | None
    tls: bool
    mode: model.Mode
    needs: tuple[Need, ...]
    measures: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures that only a measurement gives.

    ``writes`` are those of each disk; empty if they were not measured.
    """

    seconds: float = 0.0
    writes: Mapping[str, outlook.Writes] = dataclasses.field(
        default_factory=dict
    )


NOTHING = Measured()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The options of the source that count.

    ``limit`` is in bytes/s for all disks together; 0 = no limit.
    ``delta_min_free`` and ``delta_max_size`` are in MiB; the latter is 0 for
    no limit.
    """

    mode: model.Mode
    limit: int
    longest_window_s: float
    rounds: int
    granularity: int
    aborts_on_shortfall: bool
    delta_min_free: int
    delta_max_size: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """A migration that has not begun.

    ``destination`` is None if it was not asked, and then ``unasked`` says why.
    """

    guest: str
    disks: tuple[Disk, ...]
    left_alone: tuple[plan.LeftAlone, ...]
    source: Side
    destination: Side | None
    unasked: str
    rules: Rules
    measured: Measured = NOTHING

    @property
    def unseeded(self) -> tuple[str, ...]:
        """The reasons against seeded mode."""
        return tuple(each for side in self._sides for each in side.unseeded)

    @property
    def mode(self) -> model.Mode:
        """The mode in which the migration would begin."""
        return model.Mode.DIRECT if self.unseeded else self.rules.mode

    @property
    def refusals(self) -> tuple[str, ...]:
        """All reasons why the migration would be refused."""
        own = (each for side in self._sides for each in side.refusals)
        return tuple(dict.fromkeys((*own, *self._derived())))

    @property
    def goes(self) -> bool:
        """Whether both hosts were asked, and none refuses."""
        return not self.refusals and self.destination is not None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What may go wrong although nothing is refused."""
        return tuple(self._remarks())

    @property
    def travel_bytes(self) -> int:
        """The bytes of all disks that travel before further writes."""
        return sum(disk.travel_bytes for disk in self.disks)

    @property
    def outlooks(self) -> Mapping[str, outlook.Outlook]:
        """The course at each rate that is known, by the name of the rate."""
        link, limit = self.link_rate, self.rules.limit
        rates = {'limit': limit, 'link': link}
        if link and limit:
            rates['limit'] = min(limit, link)
        return {
            name: self._outlook(rate) for name, rate in rates.items() if rate
        }

    @property
    def link_rate(self) -> float:
        """The measured rate of the network, in bytes/s; 0 if not known."""
        return self.destination.link_rate if self.destination else 0.0

    def growth(self, disk: str) -> float:
        """The bytes/s by which the delta of a disk grows; 0 if not known."""
        found = self.measured.writes.get(disk)
        return found.clusters_per_s if found else 0.0

    @property
    def granularities(self) -> Mapping[str, int]:
        """The expected granularity of the copy of each disk, in bytes.

        0 if the choice is QEMU's.
        """
        return {disk.disk: self._granularity(disk) for disk in self.disks}

    @property
    def bitmap_bytes(self) -> int:
        """The memory that QEMU needs on the destination for its bitmaps."""
        units = self.granularities
        return sum(
            _BITMAPS * -(-disk.size_bytes // unit) // 8
            for disk in self.disks
            if (unit := units[disk.disk])
        )

    @property
    def _sides(self) -> tuple[Side, ...]:
        return tuple(filter(None, (self.source, self.destination)))

    def _granularity(self, disk: Disk) -> int:
        base = disk.image
        if disk.whole:
            base = dataclasses.replace(base, backing=None)
        limits = mirror.limits(
            base,
            alignment=_ALIGNMENT[base.kind],
            cluster=_CLUSTER,
            hypervisor=(self.destination or self.source).hypervisor,
        )
        wanted = self.rules.granularity
        return max(wanted, limits.granularity) if wanted else 0

    def _outlook(self, rate: float) -> outlook.Outlook:
        disks = [
            outlook.Disk(
                size_bytes=disk.size_bytes,
                travel_bytes=disk.travel_bytes,
                grows=self.growth(disk.disk),
            )
            for disk in self.disks
        ]
        if self.mode is model.Mode.DIRECT:
            return outlook.direct(disks, rate)
        return outlook.seeded(
            disks,
            rate,
            longest=self.rules.longest_window_s,
            rounds=self.rules.rounds,
        )

    def _derived(self) -> Iterator[str]:
        """The refusals that follow from the facts of both hosts."""
        for side in self._sides:
            for room in side.rooms:
                if room.free_bytes < room.needed_bytes:
                    yield (
                        f'{side.host} has {_mib(room.free_bytes)} MiB free '
                        f'for {room.purpose} in {room.place}, but '
                        f'{_mib(room.needed_bytes)} MiB are needed. Make '
                        f'room there, or choose another host.'
                    )
        if self.mode is model.Mode.SEEDED and self.rules.aborts_on_shortfall:
            for found in self.outlooks.values():
                if not found.converges:
                    yield (
                        f'The guest writes faster than its disks are copied '
                        f'at {_mib(found.rate)} MiB/s, and [blockcopy] '
                        f'seed_shortfall_action is "abort". Raise the limit, '
                        f'or wait until the guest writes less.'
                    )

    def _remarks(self) -> Iterator[str]:
        for reason in self.unseeded:
            if self.rules.mode is model.Mode.SEEDED:
                yield f'The mode is direct, not seeded: {reason}'
        for side in self._sides:
            for room in side.rooms:
                if room.needed_bytes <= room.free_bytes < room.most_bytes:
                    yield (
                        f'{side.host} has {_mib(room.free_bytes)} MiB free '
                        f'for {room.purpose} in {room.place}, and '
                        f'{_mib(room.most_bytes)} MiB may be needed in time.'
                    )
        for name, found in self.outlooks.items():
            yield from self._of_deltas(name, found)

    def _of_deltas(self, name: str, found: outlook.Outlook) -> Iterator[str]:
        most = self.rules.delta_max_size * bandwidth.MIB
        if most and found.delta_bytes > most:
            yield (
                f'At the rate of the {name}, the deltas grow to '
                f'{_mib(found.delta_bytes)} MiB, and [blockcopy] '
                f'delta_max_size is {_mib(most)} MiB. The migration would be '
                f'undone. Raise delta_max_size, or the limit.'
            )
        least = self.rules.delta_min_free * bandwidth.MIB
        for room in self.source.rooms:
            if found.delta_bytes and (
                room.free_bytes < found.delta_bytes + least
            ):
                yield (
                    f'At the rate of the {name}, the deltas grow to '
                    f'{_mib(found.delta_bytes)} MiB in {room.place}, where '
                    f'{_mib(room.free_bytes)} MiB are free. The migration '
                    f'would be undone. Make room there, or raise the limit.'
                )


def _mib(count: float) -> int:
    return int(count) // bandwidth.MIB
