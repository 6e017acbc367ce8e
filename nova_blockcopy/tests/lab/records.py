# SPDX-License-Identifier: Apache-2.0
"""The records of a guest: their reports on the console, and their check.

The guest reports a record on its console only after the disk has acknowledged
the write. The check looks for each reported record in the image.
"""

import dataclasses
import itertools
import pathlib
import re
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable

from nova_blockcopy.runtime import waiting

RECORD = 512
#: The same as in init.c.
_STRIDE = 7919
_LINE = re.compile(rb'^(?P<kind>[wecr]) (?P<disk>[a-z]) (?P<n>\d+)')
#: The guest's answers to orders, and whether the guest is quiet then.
_ANSWERS = {b'quiet': True, b'going': False}
#: The last line of a kernel that shuts down or reboots.
_LAST_WORDS = b'reboot: '
_SECONDS = 60
_TICK = 0.005


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The part of a disk that has the records; in bytes."""

    offset: int
    length: int

    @property
    def slots(self) -> int:
        return self.length // RECORD

    def position(self, number: int) -> int:
        """Return the offset of a record in the region, in bytes."""
        return number * _STRIDE % self.slots * RECORD


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The check of one disk: how many records are written and not intact.

    The place of a missing record has zeroes. The place of a wrong record has
    other data.
    """

    disk: str
    written: int
    missing: int
    wrong: int

    @property
    def intact(self) -> bool:
        return not self.missing and not self.wrong and self.written > 0


class Log:
    """Follows the consoles of one guest and counts the reports on them.

    :param consoles: the file of the console on each host; a file may not
        exist yet
    """

    def __init__(self, consoles: Iterable[pathlib.Path]) -> None:
        self._consoles = tuple(consoles)
        self._positions = dict.fromkeys(self._consoles, 0)
        self._rests = dict.fromkeys(self._consoles, b'')
        self._written: dict[str, int] = {}
        self._reports: dict[str, int] = {}
        self._chaos: dict[str, int] = {}
        self._reads: dict[str, list[tuple[float, int]]] = {}
        self._stamps: list[float] = []
        #: How many orders the guest has answered, and whether it is quiet.
        self.answers = 0
        self.quiet = False
        #: The errors that the guest saw, except when it ended its disks.
        self.errors: list[str] = []
        #: Those of each disk since its last record.
        self._last_errors: dict[str, list[str]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Start to follow the consoles."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to follow the consoles, after a last read."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def written(self, target: str) -> int:
        """Return how many records of a disk were acknowledged."""
        return self._written.get(target[-1], 0)

    def reports(self, target: str) -> int:
        """Return how many reports of records of a disk have been read.

        A guest that was reset writes its first records again, and reports
        them again.
        """
        return self._reports.get(target[-1], 0)

    def wait_for_more(self, target: str, records: int) -> None:
        """Wait until the given number of further records is acknowledged.

        :raises AssertionError: the guest does not write them in time
        """
        self._wait(lambda: self.written(target), records, target)

    def wait_for_chaos(self, target: str, operations: int) -> None:
        """Wait for the given number of further operations of chaos.

        :raises AssertionError: the guest does not do them in time
        """
        self._wait(lambda: self.chaos(target), operations, target)

    def _wait(self, count: Callable[[], int], more: int, target: str) -> None:
        goal = count() + more
        if not waiting.until(
            lambda: count() >= goal, timeout=_SECONDS, interval=0.02
        ):
            raise AssertionError(
                f'the guest does not write to {target}: {count()} of {goal} '
                f'operations after {_SECONDS} s; its last errors: '
                f'{self.errors[-3:]}'
            )

    def chaos(self, target: str) -> int:
        """Return about how many operations of chaos a disk has seen."""
        return self._chaos.get(target[-1], 0)

    def read_rate(self, target: str, begin: float, end: float) -> float:
        """Return the reads of a disk per second between two times.

        The rate is 0 if the guest did not report twice in that time.

        :param begin: seconds of the monotonic clock
        :param end: seconds of the monotonic clock
        """
        seen = [
            (stamp, count)
            for stamp, count in self._reads.get(target[-1], [])
            if begin <= stamp <= end
        ]
        if len(seen) < 2:
            return 0.0
        (first, low), (last, high) = seen[0], seen[-1]
        return (high - low) / (last - first)

    def longest_gap(self, since: float = 0) -> float:
        """Return the longest time between two records, in seconds.

        :param since: seconds of the monotonic clock
        """
        stamps = [stamp for stamp in self._stamps if stamp >= since]
        return max(
            (later - earlier for earlier, later in itertools.pairwise(stamps)),
            default=0.0,
        )

    def _follow(self) -> None:
        while not self._stopped.is_set():
            for console in self._consoles:
                self._read(console)
            self._stopped.wait(_TICK)
        for console in self._consoles:
            self._read(console)

    def _read(self, console: pathlib.Path) -> None:
        try:
            with console.open('rb') as f:
                f.seek(self._positions[console])
                new = f.read()
        except FileNotFoundError:
            return
        self._positions[console] += len(new)
        *lines, self._rests[console] = (self._rests[console] + new).split(
            b'\n'
        )
        for line in lines:
            self._take(line, time.monotonic())

    def _take(self, line: bytes, now: float) -> None:
        if _LAST_WORDS in line:
            # the kernel had ended the disks, and then failed their writes
            for error in itertools.chain(*self._last_errors.values()):
                self.errors.remove(error)
            self._last_errors.clear()
        answer = _ANSWERS.get(line.strip())
        if answer is not None:
            self.quiet = answer
            self.answers += 1
        found = _LINE.match(line)
        if found is None:
            return
        disk, number = found['disk'].decode(), int(found['n'])
        match found['kind']:
            case b'e':
                error = line.decode(errors='replace').strip()
                self.errors.append(error)
                self._last_errors.setdefault(disk, []).append(error)
            case b'c':
                self._chaos[disk] = number
            case b'r':
                self._reads.setdefault(disk, []).append((now, number))
            case _:
                self._last_errors.pop(disk, None)
                self._reports[disk] = self._reports.get(disk, 0) + 1
                # A paused console may lose a line. The records are written
                # in order, so the number tells how many there are.
                self._written[disk] = max(
                    self._written.get(disk, 0), number + 1
                )
                self._stamps.append(now)


def expected(disk: str, number: int) -> bytes:
    """Return the bytes of one record, as init.c writes them."""
    return (b'nbcrec_' + disk[-1].encode() + number.to_bytes(8, 'little')) * (
        RECORD // 16
    )


def check(disk: str, content: bytes, region: Region, written: int) -> Verdict:
    """Look in a region for all records that the guest has reported.

    :param content: the bytes of the region
    :param written: how many records the guest has reported
    """
    missing = wrong = 0
    for number in range(written):
        at = region.position(number)
        found = content[at : at + RECORD]
        if found != expected(disk, number):
            if any(found):
                wrong += 1
            else:
                missing += 1
    return Verdict(disk=disk, written=written, missing=missing, wrong=wrong)
