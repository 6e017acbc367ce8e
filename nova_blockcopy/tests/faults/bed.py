# SPDX-License-Identifier: Apache-2.0
"""The test bed: a lab with small file systems, and a service on each host."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from nova_blockcopy import wire
from nova_blockcopy.migration.source import migration as engine
from nova_blockcopy.tests.faults import daemon
from nova_blockcopy.tests.lab import host as hosts
from nova_blockcopy.tests.lab import lab as labs
from nova_blockcopy.tests.lab import power
from nova_blockcopy.tests.lab import scene
from nova_blockcopy.tests.lab import shim as shims

#: The small file systems in the home of each host, and their sizes in MiB.
SMALL = {'images': 1024, 'journal': 4, 'deltas': 256}
#: Pages that are left where somebody writes all the time.
_SPARE = (0, 0, 16, 64, 256)
#: Options of the engine with which a fault is noticed in seconds.
OPTIONS = {
    'call_timeout': 15,
    'stall_timeout': 30,
    'pivot_timeout': 60,
    'switchover_timeout': 120,
    'delta_min_free': 16,
}


class Bed:
    """A lab on which one guest after the other is migrated.

    :param logs: a directory for the logs of bad migrations
    """

    def __init__(self, logs: pathlib.Path | None = None) -> None:
        self._logs = logs
        self.lab = labs.Lab(small=SMALL)

    def __enter__(self) -> 'Bed':
        self.lab.up()
        return self

    def __exit__(self, *_ignored: object) -> None:
        self.lab.down()

    @contextlib.contextmanager
    def services(
        self, options: dict[str, Any]
    ) -> Iterator[dict[str, daemon.Daemon]]:
        """Run the services in a ``with`` block; they are by host.

        They may not answer yet; see ``wait``.

        :param options: options of the engine
        """
        found = {
            each.name: daemon.Daemon(self.lab, each, SMALL, options)
            for each in self.lab.hosts
        }
        for each in found.values():
            each.trace.clear()
            each.launch()
        try:
            yield found
        finally:
            for each in found.values():
                each.kill()

    def mend(self, *, shimmed: bool = False) -> None:
        """Make both hosts and the link as they were, without a guest.

        :param shimmed: the hosts have the library of :mod:`shim`
        """
        self.heal()
        self.lab.empty()
        for each in self.lab.hosts:
            self.shim(each).fit(wanted=shimmed)

    def heal(self) -> None:
        """Give the hosts their link, their room and their libvirtd again."""
        for each in self.lab.hosts:
            cut(each, self.other(each), drop=False)
            empty_room(each)
            if not _runs(each, 'libvirtd'):
                each.start_libvirtd()
            each.wait_for_libvirtd()

    def keep(self, name: str) -> None:
        """Keep the logs and the journals of a migration.

        :param name: of the directory for them
        """
        if self._logs is None:
            return
        into = self._logs / name
        into.mkdir(parents=True, exist_ok=True)
        for found in self.lab.directory.glob('[st]*-[ab]*'):
            if found.is_file():
                shutil.copy(found, into)
        for at in self.lab.hosts:
            for path in ('/var/log/libvirt', at.home / 'journal'):
                shutil.copytree(
                    at.outside(path),
                    into / at.name / pathlib.Path(path).name,
                    dirs_exist_ok=True,
                )

    def supply(self, at: hosts.Host) -> power.Supply:
        """Return the power of a host."""
        return power.Supply(at, self.lab.directory)

    def shim(self, at: hosts.Host) -> shims.Shim:
        """Return the library between programs and disks of a host."""
        return shims.Shim(at, self.lab.directory)

    def other(self, at: hosts.Host) -> hosts.Host:
        """Return the other host."""
        return self.lab.b if at is self.lab.a else self.lab.a


def request(made: scene.Scene) -> dict[str, Any]:
    """Return the request of a scene's migration, as a service wants it."""
    wanted = engine.Request(
        guest=made.guest.name,
        bases=made.base_requests(),
        home=scene.endpoint(made.home),
        destination=scene.endpoint(made.away),
    )
    packed: dict[str, Any] = wire.pack(wanted)
    return packed


def cut(at: hosts.Host, other: hosts.Host, *, drop: bool) -> None:
    """Drop all packets from one host to the other, or let them pass again.

    They get a wrong hardware address, so the other host drops them, and no
    program gets an error.
    """
    if drop:
        at.run(
            *('ip', 'neigh', 'replace', other.address, 'dev', 'eth0'),
            *('lladdr', '02:00:00:00:00:01', 'nud', 'permanent'),
        )
        return
    at.run(*('ip', 'neigh', 'del', other.address, 'dev', 'eth0'), check=False)


def fill_room(at: hosts.Host, name: str) -> None:
    """Leave no room in one of the small file systems of a host."""
    path = str(at.home / name)
    for spare in _SPARE:  # somebody may be writing
        used = at.run('df', '--output=used', '-B', '4096', path).stdout
        pages = max(int(used.split()[-1]), 1) + spare
        size = f'remount,size={pages * 4096}'
        if not at.run('mount', '-o', size, path, check=False).returncode:
            return
    raise hosts.LabError(f'The room of {path} cannot be taken.')


def empty_room(at: hosts.Host) -> None:
    """Give the small file systems of a host their sizes again."""
    for path, mib in at.small.items():
        at.run('mount', '-o', f'remount,size={mib}m', str(path))


def _runs(at: hosts.Host, name: str) -> bool:
    return any(each.name() == name for each in at.processes())
