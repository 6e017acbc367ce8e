# SPDX-License-Identifier: Apache-2.0
"""The bases of one guest before the switchover. Runs on the destination."""

import dataclasses
import threading
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.copies import seeder
from nova_blockcopy.host import certificates
from nova_blockcopy.host import deltas
from nova_blockcopy.host import header
from nova_blockcopy.host import images
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.destination import claims
from nova_blockcopy.records import journal
from nova_blockcopy.records import received


class BaseSet:
    """The bases that wait for one guest, and the files of later rounds.

    :param guest: UUID
    :param migration: the id of the migration
    """

    def __init__(
        self, settings: conf.Settings, guest: str, migration: str
    ) -> None:
        self._settings = settings
        self._migration = migration
        self._book = received.Book(settings.journal_dir, guest)
        self._seeder: seeder.Seeder | None = None

    def check(self, host: str) -> None:
        """Pass if this host can be seeded.

        :param host: this host's name, for the message
        :raises NoRoom: ``delta_dir`` has no room for deltas of later rounds
        :raises UnsafeDirectory: another user could replace ``delta_dir``
        :raises CertificateError: this host could not read encrypted exports
        :raises CertificateUnusable: a certificate of this host has expired
        """
        certificates.check(host, self._settings, model.Side.CLIENT)
        deltas.prepare(self._settings.delta_dir)
        reservations.Reservations(self._settings).check()

    def describe(
        self,
        disk: str,
        path: str,
        format_: model.ImageFormat,
        *,
        by_book: bool,
    ) -> tuple[model.Image, int]:
        """Describe a base, with the bytes that a guest sees.

        An earlier attempt may have left the header of a qcow2 base
        half-filled. The book has the description from before that.

        :param by_book: seeding will write the header too, so the book counts
        :raises ImageError: the base is missing, or the header does not declare
            the format of a layer
        """
        known = by_book and self._book.of(disk, images.identity(path))
        if known and (known.base.path, known.base.format) == (path, format_):
            return known.base, known.size_bytes
        image = images.describe(path, format_)
        return image, images.size(image)

    def received(
        self, moves: tuple[model.Move, ...]
    ) -> dict[str, tuple[model.Extent, ...]]:
        """Return the extents of each base that earlier attempts have filled.

        :raises ImageError: a base is missing
        """
        found = {}
        for move in moves:
            identity = images.identity(move.base.path)
            known = self._book.of(move.disk, identity)
            found[move.disk] = known.extents if known else ()
        return found

    def fill(
        self,
        record: journal.Record,
        claimed: tuple[model.Seed, ...],
        limit: int,
        cancelled: threading.Event,
        watch: progress.Watch,
        retried: Callable[[events.Retry], None] = lambda _act: None,
    ) -> None:
        """Copy images from exports into the bases.

        :param record: the journal of the migration
        :param claimed: the seeds as the source sent them
        :param limit: bytes/s for all disks together; 0 = no limit
        :param retried: called when a piece has failed that is tried again
        :raises PeerError: a seed does not fit the journal of this host
        :raises NoRoom: deltas of a later round have too little room here
        :raises SeedFailed: an image could not be copied
        :raises Aborted: ``cancelled`` was set
        """
        seeds = [self.landed(record, seed) for seed in claimed]
        lasting = {seed.disk: seed for seed in seeds if not seed.delta}
        self._begin(record, lasting.values())

        def arrived(disk: str, piece: model.Extent) -> None:
            if disk in lasting:
                self._book.add(disk, [piece])

        self._check_room(record, seeds)
        self._seeder = seeder.Seeder(
            record.name, seeds, self._settings, limit, arrived, retried
        )
        try:
            self._seeder.run(cancelled, watch)
        finally:
            self._book.save()

    def _begin(
        self, record: journal.Record, lasting: Iterable[model.Seed]
    ) -> None:
        """Begin the book of each base that is filled from its beginning."""
        sizes = _sizes(record)
        for seed in lasting:
            if seed.afresh:
                self._book.begin(
                    seed.disk,
                    received.Received(
                        identity=images.identity(seed.target.path),
                        base=seed.target,
                        size_bytes=sizes[seed.disk],
                    ),
                )

    def _check_room(
        self, record: journal.Record, seeds: list[model.Seed]
    ) -> None:
        coming = {seed.disk: seed.size_bytes for seed in seeds if seed.delta}
        if coming:
            room = reservations.Reservations(self._settings)
            room.check(record.migration, coming)

    def set_limit(self, bytes_per_s: int) -> None:
        """Change the limit of the seeding; bytes/s, 0 lifts the limit."""
        if self._seeder is not None:
            self._seeder.set_limit(bytes_per_s)

    def apply(
        self, record: journal.Record, claimed: tuple[model.Seed, ...]
    ) -> None:
        """Complete the bases after a round of seeding. Can be done twice.

        A qcow2 base gets the name of the backing file. The delta of a later
        round is merged into the base, and removed. The headers came over the
        network, so they are judged before QEMU's programs open the files.

        :param record: the journal of the migration
        :param claimed: the seeds as the source sent them
        :raises PeerError: a seed does not fit the journal of this host
        :raises HeaderError: a header is not one that the engine expects
        :raises ImageError: a base could not be completed
        """
        sizes = _sizes(record)
        for seed in claimed:
            seed = self.landed(record, seed)
            if not seed.delta:
                self._complete(seed.target, sizes[seed.disk])
            elif deltas.present([seed.target.path]):
                self._merge(seed, sizes[seed.disk])
            # else the delta was merged already

    def _complete(self, base: model.Image, size: int) -> None:
        if base.format is not model.ImageFormat.QCOW2:
            return
        timeout = self._settings.call_timeout
        if base.backing is None:
            expected = header.Expected(size_bytes=size, backing=())
            header.check(header.single(base.path, expected))
        else:
            # still names the backing file on the source, which is not opened
            expected = header.Expected(size_bytes=size)
            deltas.stand_on(base, timeout, expected)

    def _merge(self, seed: model.Seed, size: int) -> None:
        delta, base = seed.target, seed.target.backing
        assert base is not None  # noqa: S101 - a delta lands on a base
        names = [base.path]
        # an earlier attempt may have put the delta on the base already
        if seed.source.backing is not None:
            names.append(seed.source.backing.path)
        deltas.stand_on(
            delta,
            self._settings.call_timeout,
            deltas.arrived(size, names),
        )
        limit = deltas.time_limit(self._settings.stall_timeout, [delta.path])
        expected = {
            delta.path: deltas.arrived(size, [base.path]),
            base.path: header.completed(base, size),
        }
        deltas.commit(delta, base, limit, expected)
        deltas.remove([delta.path])

    def landed(self, record: journal.Record, seed: model.Seed) -> model.Seed:
        """Return a seed with the image that this host's journal has for it.

        :raises PeerError: the seed does not fit the journal
        """
        target = claims.accepted(seed, record, self._settings).base
        if seed.delta:
            target = model.overlay(self._landing(seed.disk), target)
        return dataclasses.replace(seed, target=target)

    def clear(self, moves: tuple[model.Move, ...]) -> None:
        """Remove the deltas of later rounds that were not merged."""
        deltas.remove([self._landing(move.disk) for move in moves])

    def forget(self) -> None:
        """Forget the book of the bases, which are complete."""
        self._book.close()

    def _landing(self, disk: str) -> str:
        return deltas.landing(self._settings.delta_dir, self._migration, disk)


def _sizes(record: journal.Record) -> dict[str, int]:
    """Return the size of each disk, as a guest sees it, in bytes."""
    return {move.disk: move.size_bytes for move in record.moves}
