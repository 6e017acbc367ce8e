# SPDX-License-Identifier: Apache-2.0
"""The room that the migrations of this host need, all together.

The journals name the migrations and their deltas. So each migration sees the
others, also those that another process or an earlier nova-compute began, and
the room of a migration is free again when its journal is closed.
"""

import collections
import os
import time
import types
from collections.abc import Iterator
from collections.abc import Mapping

from nova_blockcopy import bandwidth
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import room
from nova_blockcopy import states
from nova_blockcopy.host import deltas
from nova_blockcopy.host import space
from nova_blockcopy.records import journal

#: Seconds over which the growth of deltas is measured.
_WINDOW_S = 5.0
#: A growth in less than so many seconds does not tell a rate.
_SHORT_S = 1.0
#: In these states the guest uses the bases, so nothing is merged any more.
_OVER = (states.State.RELEASING, states.State.SETTLED)
_NOTHING: Mapping[str, int] = types.MappingProxyType({})


def examine(settings: conf.Settings) -> None:
    """Check the room for one more migration, and make no directory.

    :raises NoRoom: too little is free, beside the other migrations
    :raises UnsafeDirectory: another user could replace ``delta_dir``
    :raises DeltaDirRefused: the file system has no direct I/O
    """
    deltas.examine(settings.delta_dir, settings.delta_min_free)
    if os.path.isdir(settings.delta_dir):  # else no migration has deltas
        Reservations(settings).check()


class Reservations:
    """Looks at the room of all migrations. For one thread.

    An object remembers how large files were, so one that looks often knows
    how fast deltas grow.
    """

    def __init__(self, settings: conf.Settings) -> None:
        self._settings = settings
        self._journal = journal.Journal(settings.journal_dir)
        #: The bytes of each disk before deltas are merged into the disk.
        self._first: dict[tuple[str, str], int] = {}
        #: When the deltas of a migration had how many bytes.
        self._seen: dict[str, collections.deque[tuple[float, int]]] = {}

    def check(
        self, migration: str = '', coming: Mapping[str, int] = _NOTHING
    ) -> None:
        """Pass if a migration has room to go on, beside all others.

        :param migration: its id; empty for one that has not begun
        :param coming: the bytes of deltas that it is about to receive, by disk
        :raises NoRoom: a file system has too little free space
        :raises DeltasTooLarge: the deltas of the migration grow too large
        """
        home = space.look(self._settings.delta_dir).systems[0]
        systems = {home.device: home}
        needs: list[tuple[int, room.Need]] = []
        known = set()
        for record in self._records():
            known.add(record.migration)
            sight = self._look(record)
            systems.update({each.device: each for each in sight.systems})
            own = record.migration == migration
            needs += self._needs(record, sight, coming if own else _NOTHING)
        self._forget(known)
        for system in systems.values():
            least = self._settings.delta_min_free * bandwidth.MIB
            there = [each for device, each in needs if device == system.device]
            if system.device == home.device:
                _check_system(migration, system, there, least)
            elif any(each.migration == migration for each in there):
                _check_system(migration, system, there, 0)
        self._check_limit(migration, [need for _device, need in needs])

    def _records(self) -> Iterator[journal.Record]:
        for guest in self._journal.guests():
            try:
                record = self._journal.find(guest)
            except exception.JournalError:
                continue  # an operator hears of it elsewhere
            if record is not None:
                yield record

    def _look(self, record: journal.Record) -> space.Sight:
        directory = self._settings.delta_dir
        try:
            return space.look(directory, list(self._paths(record)))
        except exception.ForbiddenPath:  # its own steps fail by that
            return space.look(directory)

    def _paths(self, record: journal.Record) -> Iterator[str]:
        for move in record.moves:
            yield self._below(record, move).path
            yield from self._overlays(record, move)

    def _below(self, record: journal.Record, move: model.Move) -> model.Image:
        here = record.role is model.Role.SOURCE
        return move.source if here else move.base

    def _overlays(
        self, record: journal.Record, move: model.Move
    ) -> tuple[str, ...]:
        if record.role is model.Role.SOURCE:
            return move.deltas
        directory = self._settings.delta_dir
        return (deltas.landing(directory, record.migration, move.disk),)

    def _needs(
        self,
        record: journal.Record,
        sight: space.Sight,
        coming: Mapping[str, int],
    ) -> Iterator[tuple[int, room.Need]]:
        """Yield the needs of one migration, each with its device."""
        held: collections.Counter[int] = collections.Counter()
        merge: collections.Counter[int] = collections.Counter()
        merge[sight.systems[0].device] += sum(coming.values())
        for move in record.moves:
            overlays = [
                sight.files[path]
                for path in self._overlays(record, move)
                if path in sight.files
            ]
            for each in overlays:
                held[each.device] += each.occupied
            below = sight.files.get(self._below(record, move).path)
            if below is not None and record.state not in _OVER:
                occupied = sum(each.occupied for each in overlays)
                occupied += coming.get(move.disk, 0)
                merge[below.device] += self._merge(
                    record, move, below.occupied, occupied
                )
        rate = self._rate(record.migration, held.total())
        for device in held | merge:
            share = held[device] / held.total() if held.total() else 0
            yield (
                device,
                room.Need(
                    migration=record.migration,
                    held=held[device],
                    merge=merge[device],
                    rate=rate * share,
                    steady=record.state in states.REVERSIBLE,
                    leaving=record.state is states.State.UNDOING,
                ),
            )

    def _merge(
        self, record: journal.Record, move: model.Move, now: int, held: int
    ) -> int:
        key = record.migration, move.disk
        if record.state in states.REVERSIBLE:
            self._first[key] = now
        first = self._first.setdefault(key, now)
        return room.merge(move.size_bytes, first, now, held)

    def _rate(self, migration: str, held: int) -> float:
        """Return how fast the deltas of a migration grow, in bytes/s."""
        now = time.monotonic()
        seen = self._seen.setdefault(migration, collections.deque())
        while seen and now - seen[0][0] > _WINDOW_S:
            seen.popleft()
        seen.append((now, held))
        at, before = seen[0]
        return max(0, held - before) / max(_SHORT_S, now - at)

    def _forget(self, known: set[str]) -> None:
        self._seen = {k: v for k, v in self._seen.items() if k in known}
        self._first = {k: v for k, v in self._first.items() if k[0] in known}

    def _check_limit(self, migration: str, needs: list[room.Need]) -> None:
        limit = self._settings.delta_max_size * bandwidth.MIB
        own = [need for need in needs if need.migration == migration]
        held = sum(need.held for need in own)
        rate = sum(need.rate for need in own)
        if limit and held + room.ahead(rate) > limit:
            raise exception.DeltasTooLarge(
                held=held // bandwidth.MIB,
                rate=int(rate) // bandwidth.MIB,
                limit=self._settings.delta_max_size,
            )


def _check_system(
    migration: str,
    system: space.FileSystem,
    needs: list[room.Need],
    least: int,
) -> None:
    wanted = room.demand(migration, needs, least)
    if system.free < wanted.total:
        raise exception.NoRoom(
            directory=system.place, reason=_said(system.free, wanted)
        )


def _said(free: int, wanted: room.Demand) -> str:
    def mib(number: int) -> int:
        return -(-number // bandwidth.MIB)

    return (
        f'{free // bandwidth.MIB} MiB are free, but {mib(wanted.total)} MiB '
        f'are needed: {mib(wanted.merges)} MiB to merge the deltas of the '
        f'{wanted.migrations} migrations there into the disks, and '
        f'{mib(wanted.margin)} MiB ([blockcopy] delta_min_free, or more if '
        f'guests write fast). Make room, let fewer guests move at a time, or '
        f'set delta_dir to another directory.'
    )
