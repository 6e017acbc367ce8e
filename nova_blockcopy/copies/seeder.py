# SPDX-License-Identifier: Apache-2.0
"""Filling the bases of one guest before it comes, on the destination.

Pieces of all disks travel side by side, within one limit.
"""

import collections
import concurrent.futures
import errno
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.host import command
from nova_blockcopy.host import transfer

LOG = logging.getLogger(__name__)

#: Told of a disk and a piece of it that is there, durably.
Arrived = Callable[[str, model.Extent], None]
#: What qemu-img says then, in the locale that it gets.
_NO_SPACE = os.strerror(errno.ENOSPC)
#: How often pieces may fail before the first one has come.
_ATTEMPTS = 10
#: Seconds before a piece that failed is tried again.
_PAUSE = 1.0


class _Work:
    """One image and what is left of it."""

    def __init__(self, seed: model.Seed) -> None:
        self.seed = seed
        self.total = extents.total(seed.extents)
        self.left = collections.deque(seed.extents)
        self.busy = 0
        self.done = 0
        self.zeroed = False

    @property
    def lanes(self) -> int:
        """How many pieces can travel at a time, about."""
        if transfer.is_serial(self.seed):
            return int(self.done < self.total)
        return -(-(self.total - self.done) // extents.PIECE)

    def ready(self) -> bool:
        free = not self.busy or not transfer.is_serial(self.seed)
        return bool(self.left) and free


class Seeder:
    """Copies images, piece by piece.

    :param limit: bytes/s for all of them together; 0 = no limit
    :param arrived: told of each piece; must return quickly
    """

    def __init__(
        self,
        guest: str,
        seeds: Iterable[model.Seed],
        settings: conf.Settings,
        limit: int,
        arrived: Arrived,
    ) -> None:
        self._guest = guest
        self._works = [_Work(seed) for seed in seeds]
        self._settings = settings
        self._limit = limit
        #: Of it, what the pieces under way have, in bytes/s.
        self._used = 0
        self._arrived = arrived
        self._changed = threading.Condition()
        self._failure: exception.BlockCopyError | None = None
        self._moved_at = time.monotonic()
        self._ended = False
        self._failed = 0

    def set_limit(self, bytes_per_s: int) -> None:
        """Change the limit for the pieces that are not begun; 0 lifts it."""
        self._limit = bytes_per_s

    def run(self, cancelled: threading.Event, watch: progress.Watch) -> None:
        """Copy all pieces.

        :raises ImageError: a target cannot be made ready
        :raises SeedFailed: pieces failed, again and again
        :raises Aborted: on request
        """
        for work in self._works:
            if work.seed.afresh:
                self._begin(work)
            else:
                transfer.fit(work.seed)
        self._moved_at = time.monotonic()
        workers = self._settings.seed_workers
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            for _worker in range(workers):
                pool.submit(self._guarded)
            try:
                self._follow(cancelled, watch)
            finally:
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()
        watch(states.State.SEEDING, self._figures())

    def _begin(self, work: _Work) -> None:
        size = work.seed.size_bytes
        work.zeroed = transfer.begin(work.seed, size)
        holes = extents.outside(size, work.seed.extents)
        if not work.zeroed:  # they have to be written, too
            work.left.extend(holes)
            work.total = size
            return
        for hole in holes:
            self._arrived(work.seed.disk, hole)

    def _follow(
        self, cancelled: threading.Event, watch: progress.Watch
    ) -> None:
        while True:
            watch(states.State.SEEDING, self._figures())
            with self._changed:
                if self._failure is not None:
                    raise self._failure
                if all(work.done == work.total for work in self._works):
                    return
                # each piece that ends is told of
                self._changed.wait(self._settings.poll_interval)
            if cancelled.is_set():
                raise exception.Aborted(guest=self._guest)

    def _figures(self) -> tuple[model.DiskProgress, ...]:
        return tuple(
            model.DiskProgress(
                disk=work.seed.disk,
                processed_bytes=work.done,
                total_bytes=work.total,
            )
            for work in self._works
        )

    def _guarded(self) -> None:
        try:
            self._carry()
        except Exception as e:  # thread entry: nobody else would see it
            LOG.exception('Seeding failed')
            self._fail(exception.SeedFailed(disk='-', reason=e))

    def _carry(self) -> None:
        while (taken := self._take()) is not None:
            work, piece, rate = taken
            began = time.monotonic()
            try:
                transfer.run(
                    work.seed,
                    piece,
                    rate=rate,
                    zeroed=work.zeroed,
                    encryption=self._settings.encryption(
                        model.Side.CLIENT, tls=work.seed.export.tls
                    ),
                    timeout=self._time_limit(piece, rate),
                )
            except command.CommandFailed as e:
                self._put_back(work, piece, e)
            else:
                self._arrived(work.seed.disk, piece)
                self._finish(work, piece)
            if rate:
                # the holes of what a guest sees do not cross the link
                usual = 0 if work.seed.by_content else piece.length / rate
                self._give_back(rate, began + usual)

    def _take(self) -> tuple[_Work, model.Extent, int] | None:
        """The next piece, and its share of the limit in bytes/s."""
        with self._changed:
            while not self._ended:
                ready = [work for work in self._works if work.ready()]
                rate = self._share()
                if ready and rate is not None:
                    # the one that is furthest from its end
                    work = max(ready, key=lambda w: w.total - w.done)
                    self._used += rate
                    piece, rest = extents.cut(
                        work.left.popleft(), extents.piece_size(rate)
                    )
                    if rest is not None:
                        work.left.appendleft(rest)
                    work.busy += 1
                    return work, piece, rate
                self._changed.wait(self._settings.poll_interval)
            return None

    def _share(self) -> int | None:
        """What a piece may take of the limit; None if it has to wait."""
        if not self._limit:
            return 0
        lanes = sum(work.lanes for work in self._works)
        workers = max(1, min(self._settings.seed_workers, lanes))
        share = max(1, self._limit // workers)
        free = self._limit - self._used
        # what is left by more workers than there are now is not too little
        return min(share, free) if 2 * free >= share else None

    def _give_back(self, rate: int, until: float) -> None:
        """Return a share of the limit, but not before its time.

        qemu-img lets its first bytes and its last request pass at once; in
        a small piece that is all there is.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended, max(0.0, until - time.monotonic())
            )
            self._used -= rate
            self._changed.notify_all()

    def _finish(self, work: _Work, piece: model.Extent) -> None:
        with self._changed:
            work.busy -= 1
            work.done += piece.length
            self._moved_at = time.monotonic()
            self._changed.notify_all()

    def _put_back(
        self, work: _Work, piece: model.Extent, error: Exception
    ) -> None:
        LOG.warning('Seeding disk %s: %s', work.seed.disk, error)
        with self._changed:
            work.left.appendleft(piece)
            work.busy -= 1
            stalled = time.monotonic() - self._moved_at
            self._failed += 1
            never = self._failed > _ATTEMPTS and not any(
                each.done for each in self._works
            )
            hopeless = never or _NO_SPACE in str(error)
            if hopeless or stalled > self._settings.stall_timeout:
                self._fail(
                    exception.SeedFailed(disk=work.seed.disk, reason=error)
                )
            # an export or a link that was lost may come back
            self._changed.wait_for(lambda: self._ended, _PAUSE)

    def _fail(self, error: exception.BlockCopyError) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _time_limit(self, piece: model.Extent, rate: int) -> int:
        usual = piece.length // rate if rate else 0
        return usual + self._settings.stall_timeout
