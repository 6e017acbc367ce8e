# SPDX-License-Identifier: Apache-2.0
"""The bases of one guest before it comes, and what is seeded into them.

Runs on the destination.
"""

import dataclasses
import os
import threading
from collections.abc import Mapping

from nova_blockcopy import conf
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy.copies import seeder
from nova_blockcopy.host import deltas
from nova_blockcopy.host import export
from nova_blockcopy.host import images
from nova_blockcopy.records import received


class BaseSet:
    """What is prepared for one guest.

    :param guest: UUID
    :param migration: its id
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

        :param host: its name
        :raises NoRoom: the deltas of later rounds have none
        :raises CertificateError: the exports could not be read
        """
        encryption = self._settings.encryption(
            model.Side.CLIENT, tls=self._settings.export_tls
        )
        if encryption is not None:
            export.check_certificates(host, encryption)
        deltas.check_room(
            self._settings.delta_dir, self._settings.delta_min_free
        )

    def describe(
        self,
        disk: str,
        path: str,
        format_: model.ImageFormat,
        *,
        by_book: bool,
    ) -> tuple[model.Image, int]:
        """A base, by its header unless that is being filled; and its size.

        :param by_book: whether its header will be filled
        :returns: with bytes that a guest sees
        :raises ImageError: it is missing, or leaves something to be guessed
        """
        known = by_book and self._book.of(disk, images.identity(path))
        if known and (known.base.path, known.base.format) == (path, format_):
            return known.base, known.size_bytes
        image = images.describe(path, format_)
        return image, images.size(image)

    def received(
        self, moves: tuple[model.Move, ...]
    ) -> dict[str, tuple[model.Extent, ...]]:
        """Where the bases were filled by an earlier attempt, by disk.

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
        guest: str,
        seeds: tuple[model.Seed, ...],
        sizes: Mapping[str, int],
        limit: int,
        cancelled: threading.Event,
        watch: progress.Watch,
    ) -> None:
        """Copy what is to be copied.

        :param guest: name, for messages
        :param sizes: of the disks, bytes that a guest sees
        :param limit: bytes/s for all together; 0 = no limit
        """
        seeds = tuple(map(self.landed, seeds))
        lasting = {seed.disk: seed for seed in seeds if not seed.delta}
        for disk, seed in lasting.items():
            if seed.afresh:
                self._book.begin(
                    disk,
                    received.Received(
                        identity=images.identity(seed.target.path),
                        base=seed.target,
                        size_bytes=sizes[disk],
                    ),
                )

        def arrived(disk: str, piece: model.Extent) -> None:
            if disk in lasting:
                self._book.add(disk, [piece])

        self._seeder = seeder.Seeder(
            guest, seeds, self._settings, limit, arrived
        )
        try:
            self._seeder.run(cancelled, watch)
        finally:
            self._book.save()

    def set_limit(self, bytes_per_s: int) -> None:
        """Change the limit of what is being copied; 0 lifts it."""
        if self._seeder is not None:
            self._seeder.set_limit(bytes_per_s)

    def apply(self, seeds: tuple[model.Seed, ...]) -> None:
        """Have the bases take in what was copied. Can be done twice.

        :raises ImageError: a base could not take it
        """
        for seed in map(self.landed, seeds):
            below = seed.target.backing
            if below is None:
                continue
            path = seed.target.path
            if seed.delta and not deltas.present([path]):
                continue  # the base has taken it in
            deltas.stand_on(seed.target, self._settings.call_timeout)
            if seed.delta:
                stalled = self._settings.stall_timeout
                limit = deltas.time_limit(stalled, [path])
                deltas.commit(path, below.path, limit)
                deltas.remove([path])

    def landed(self, seed: model.Seed) -> model.Seed:
        """The same seed, with the file that this host makes for a delta."""
        if not seed.delta:
            return seed
        target = model.overlay(self._landing(seed.disk), seed.target)
        return dataclasses.replace(seed, target=target)

    def clear(self, moves: tuple[model.Move, ...]) -> None:
        """Remove the files of deltas that were not merged."""
        deltas.remove([self._landing(move.disk) for move in moves])

    def forget(self) -> None:
        """Forget what was received: it is of no more use."""
        self._book.close()

    def _landing(self, disk: str) -> str:
        return os.path.join(
            self._settings.delta_dir, f'{self._migration}-{disk}.seed'
        )
