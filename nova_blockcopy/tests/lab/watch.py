# SPDX-License-Identifier: Apache-2.0
"""A watch over the programs that the engine starts."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Collection
from collections.abc import Mapping

import psutil

from nova_blockcopy.tests.lab import rights

_PAUSE = 0.002


class Watch:
    """Reads the rights of all programs that the engine starts on two hosts.

    :param starters: ids of the processes that start programs
    :param known: ids of processes that are no programs of the engine
    :param networks: the network namespaces in which exporters are looked for
    """

    def __init__(
        self,
        starters: Collection[int],
        known: Collection[int],
        networks: Collection[str],
    ) -> None:
        self._starters = starters
        self._known = known
        self._networks = networks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.found: set[rights.Rights] = set()

    def __enter__(self) -> 'Watch':
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            parents: dict[int, int] = {}
            for pid in psutil.pids():
                with contextlib.suppress(OSError, IndexError):
                    parents[pid] = _parent(pid)
            for pid in parents:
                if self._counts(pid, parents):
                    with contextlib.suppress(OSError, psutil.Error):
                        self._look(pid)

    def _counts(self, pid: int, parents: Mapping[int, int]) -> bool:
        if _is_exporter(pid, self._networks):
            return True
        while pid not in self._known and pid in parents:
            pid = parents[pid]
            if pid in self._starters:
                return True
        return False

    def _look(self, pid: int) -> None:
        program = pathlib.Path(f'/proc/{pid}/exe').readlink()
        first, second = rights.of(pid), rights.of(pid)
        # a child that has not become a program yet has the one of its parent
        if first == second and not program.name.startswith('python'):
            self.found.add(first)


def _parent(pid: int) -> int:
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    return int(stat.rpartition(')')[2].split()[1])


def _is_exporter(pid: int, networks: Collection[str]) -> bool:
    try:
        return (
            pathlib.Path(f'/proc/{pid}/comm').read_text() == 'qemu-nbd\n'
            and os.readlink(f'/proc/{pid}/ns/net') in networks
        )
    except OSError:
        return False
