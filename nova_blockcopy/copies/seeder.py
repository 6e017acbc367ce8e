# SPDX-License-Identifier: Apache-2.0
"""Seeding: the copy of exported images into bases before the switchover.

The code runs on the destination. Pieces of all disks are copied side by
side, within one bandwidth limit.
"""

import collections
import concurrent.futures
import errno
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.host import command
from nova_blockcopy.host import images
from nova_blockcopy.host import transfer
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

#: Called with a disk and a piece of it that is on stable storage.
Arrived = Callable[[str, model.Extent], None]
#: qemu-img's text for a full target, in the locale that it runs with.
_NO_SPACE = os.strerror(errno.ENOSPC)
#: Failures that are tolerated before the first piece has been copied, and
#: equal failures of one piece at any time.
_ATTEMPTS = 10
#: Parts of qemu-img's texts for an export or a link that is lost. It may come
#: back, so such a failure is tolerated for longer.
_LOST = ('onnect', 'nput/output error')
#: Seconds before a failed piece is tried again.
_PAUSE = 1.0


class _Work:
    """One image, and the extents that are left to copy; sizes in bytes."""

    def __init__(self, seed: model.Seed) -> None:
        self.seed = seed
        self.total = extents.total(seed.extents)
        self.left = collections.deque(seed.extents)
        self.busy = 0
        self.done = 0
        self.zeroed = False
        #: The last failure of the piece at each offset, and how often in a row
        #: it was the same.
        self._failures: dict[int, tuple[str, int]] = {}

    @property
    def lanes(self) -> int:
        """About how many pieces can be copied at a time."""
        if transfer.is_serial(self.seed):
            return int(self.done < self.total)
        return -(-(self.total - self.done) // extents.PIECE)

    def ready(self) -> bool:
        """Tell whether a worker can take a piece."""
        free = not self.busy or not transfer.is_serial(self.seed)
        return bool(self.left) and free

    def failed(self, piece: model.Extent, message: str) -> int:
        """Count a failure; return how often in a row it was the same."""
        last, times = self._failures.get(piece.offset, ('', 0))
        times = times + 1 if message == last else 1
        self._failures[piece.offset] = message, times
        return times


class Seeder:
    """Copies images of one guest, piece by piece.

    :param guest: the guest's name, for messages
    :param limit: bytes/s for all images together; 0 = no limit
    :param arrived: called with each piece that is copied; must return quickly
    :param retried: called when a piece has failed that is tried again
    """

    def __init__(
        self,
        guest: str,
        seeds: Iterable[model.Seed],
        settings: conf.Settings,
        limit: int,
        arrived: Arrived,
        retried: Callable[[events.Retry], None] = lambda _act: None,
    ) -> None:
        self._guest = guest
        self._works = [_Work(seed) for seed in seeds]
        self._settings = settings
        self._limit = limit
        #: The share of the limit that running pieces use, in bytes/s.
        self._used = 0
        self._arrived = arrived
        self._retried = retried
        self._changed = threading.Condition()
        self._failure: exception.BlockCopyError | None = None
        self._moved_at = time.monotonic()
        self._ended = False
        self._failed = 0

    def set_limit(self, bytes_per_s: int) -> None:
        """Change the limit for pieces that begin later; 0 means no limit."""
        self._limit = bytes_per_s

    def run(self, cancelled: threading.Event, watch: progress.Watch) -> None:
        """Copy all pieces.

        :raises ImageError: a target cannot be prepared
        :raises SeedFailed: a target is full, or pieces failed repeatedly
        :raises Aborted: ``cancelled`` was set
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
                pool.submit(logging.carried(self._guarded))
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
        if work.seed.delta:
            self._reserve(work.seed.target.path, size)
        holes = extents.outside(size, work.seed.extents)
        if not work.zeroed:  # holes are copied, too, to write zeroes there
            work.left.extend(holes)
            work.total = size
            return
        for hole in holes:
            self._arrived(work.seed.disk, hole)

    def _reserve(self, path: str, size: int) -> None:
        """Take the room for a delta, so that no other migration counts it."""
        try:
            images.reserve(path, size, self._settings.call_timeout)
        except exception.ImageError as e:
            if _NO_SPACE in str(e):
                raise
            LOG.debug('The room of %s is not reserved: %s', path, e)

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
                # _finish() and _fail() notify
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
        except Exception as e:  # a thread's entry: no caller would see it
            LOG.exception('A worker that seeds has failed unexpectedly')
            disks = ', '.join(work.seed.disk for work in self._works)
            self._fail(
                exception.SeedFailed(
                    disk=disks,
                    reason=f'{e}. Report a bug, with the traceback in the '
                    f'log.',
                )
            )

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
            except exception.ImageError as e:
                # the target may not be opened, so no attempt would help
                self._fail(exception.SeedFailed(disk=work.seed.disk, reason=e))
            else:
                self._arrived(work.seed.disk, piece)
                self._finish(work, piece)
            if rate:
                # guest-visible content has holes that do not cross the link
                usual = 0 if work.seed.by_content else piece.length / rate
                self._give_back(rate, began + usual)

    def _take(self) -> tuple[_Work, model.Extent, int] | None:
        """Wait for the next piece; None at the end of the seeding.

        :returns: the work, the piece, and the piece's share of the limit in
            bytes/s
        """
        with self._changed:
            while not self._ended:
                ready = [work for work in self._works if work.ready()]
                rate = self._share()
                if ready and rate is not None:
                    # the image with the most bytes left
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
        """Return a piece's share in bytes/s; None if the piece must wait.

        A share of 0 means that there is no limit.
        """
        if not self._limit:
            return 0
        lanes = sum(work.lanes for work in self._works)
        workers = max(1, min(self._settings.seed_workers, lanes))
        share = max(1, self._limit // workers)
        free = self._limit - self._used
        # running pieces may have shares of an earlier, different size: half
        # of a share is enough to begin
        return min(share, free) if 2 * free >= share else None

    def _give_back(self, rate: int, until: float) -> None:
        """Free a share of the limit, but not before the piece's usual end.

        qemu-img does not delay the first bytes and the last request. A small
        piece consists of nothing else, and would exceed the limit.

        :param until: the usual end, by the monotonic clock
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
        LOG.warning(
            'Seeding a piece of disk %s failed: %s', work.seed.disk, error
        )
        with self._changed:
            work.left.appendleft(piece)
            work.busy -= 1
            stalled = time.monotonic() - self._moved_at
            self._failed += 1
            never = self._failed > _ATTEMPTS and not any(
                each.done for each in self._works
            )
            said = str(error)
            again = work.failed(piece, said) > _ATTEMPTS and not any(
                text in said for text in _LOST
            )
            hopeless = never or again or _NO_SPACE in said
            if hopeless or stalled > self._settings.stall_timeout:
                self._fail(
                    exception.SeedFailed(
                        disk=work.seed.disk,
                        reason=f'{error} Check the network and the storage of '
                        f'both hosts.',
                    )
                )
            else:
                self._retried(events.Retry.PIECE)
            # a lost export or link may come back
            self._changed.wait_for(lambda: self._ended, _PAUSE)

    def _fail(self, error: exception.BlockCopyError) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._ended = True  # or workers would go on trying meanwhile
            self._changed.notify_all()

    def _time_limit(self, piece: model.Extent, rate: int) -> int:
        usual = piece.length // rate if rate else 0
        return usual + self._settings.stall_timeout
