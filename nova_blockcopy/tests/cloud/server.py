# SPDX-License-Identifier: Apache-2.0
"""One server, controlled by Nova's API and checked through libvirt."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import libvirt
from lxml import etree

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import api
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import image
from nova_blockcopy.tests.cloud import network
from nova_blockcopy.tests.lab import records

#: The final states of Nova's record of a migration.
ENDS = ('completed', 'error', 'failed', 'cancelled')
_SECONDS = 120


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """Nova's record of one live migration; hosts are given by name."""

    id: int
    status: str
    source: str
    destination: str


class Server:
    """A server with three disks, each with records; see :func:`boot`."""

    def __init__(
        self,
        to: api.Api,
        computes: Sequence[compute.Compute],
        uuid: str,
        writes: image.Writes,
        *,
        networked: bool,
    ) -> None:
        self.uuid = uuid
        self.networked = networked
        self.targets = writes.targets
        self._api = to
        self._computes = computes
        self._writes = writes
        self.log = Log(
            [path for each in computes for path in each.consoles(uuid)]
        )

    @property
    def status(self) -> str:
        """Nova's status, such as ACTIVE; empty after the deletion."""
        return str(self.facts().get('status', ''))

    @property
    def task(self) -> str | None:
        """Nova's task state; None if Nova does nothing with the server."""
        found: str | None = self.facts().get('OS-EXT-STS:task_state')
        return found

    @property
    def at(self) -> compute.Compute:
        """The compute host that Nova records for the server."""
        name = self.facts()['OS-EXT-SRV-ATTR:host']
        return next(each for each in self._computes if each.name == name)

    def facts(self) -> dict[str, Any]:
        """Return the API's details of the server; empty after deletion."""
        listed = self._api.compute('GET', f'/servers/detail?uuid={self.uuid}')
        return next(iter(listed['servers']), {})

    def wait_for_status(self, *wanted: str, seconds: float = _SECONDS) -> None:
        """Wait until the server has one of these states and no task.

        :param seconds: time limit
        :raises AssertionError: the server has another state or a task then
        """

        def reached() -> bool:
            facts = self.facts()
            task = facts.get('OS-EXT-STS:task_state')
            return task is None and facts.get('status') in wanted

        if not waiting.until(reached, timeout=seconds, interval=0.3):
            raise AssertionError(
                f'server {self.uuid} is {self.status}, task {self.task}, not '
                f'{" or ".join(wanted)}: {self.facts().get("fault")}'
            )

    def live_migrate(
        self, to: compute.Compute, *, block_migration: bool | str = True
    ) -> Migration:
        """Start a live migration, and wait for Nova's record of it.

        :raises AssertionError: no record appeared
        :raises keystoneauth1.exceptions.HttpError: the API refused
        """
        before = [each.id for each in self.migrations()]
        arguments = {'host': to.name, 'block_migration': block_migration}
        self._act({'os-migrateLive': arguments})
        if not waiting.until(
            lambda: len(self.migrations()) > len(before), timeout=_SECONDS
        ):
            raise AssertionError(f'Nova does not migrate server {self.uuid}')
        return self.migrations()[0]

    def migrations(self) -> list[Migration]:
        """Return the server's live migrations, the latest first."""
        listed = self._api.compute(
            'GET',
            f'/os-migrations?instance_uuid={self.uuid}'
            f'&migration_type=live-migration',
        )
        found = [
            Migration(
                id=each['id'],
                status=each['status'],
                source=each['source_compute'],
                destination=each['dest_compute'],
            )
            for each in listed['migrations']
        ]
        return sorted(found, key=lambda each: -each.id)

    def wait_for_migration(
        self, *wanted: str, seconds: float = 300
    ) -> Migration:
        """Wait until the latest migration has one of these states.

        After a final state, also wait until Nova has no task for the server.

        :param wanted: states; by default all final ones
        :param seconds: time limit
        :raises AssertionError: the migration has another state then
        """
        goals = wanted or ENDS
        waiting.until(
            lambda: self.migrations()[0].status in (*goals, *ENDS),
            timeout=seconds,
            interval=0.3,
        )
        latest = self.migrations()[0]
        if latest.status not in goals:
            raise AssertionError(
                f'migration {latest} is not {" or ".join(goals)}'
            )
        if latest.status in ENDS:
            waiting.until(
                lambda: self.task is None, timeout=_SECONDS, interval=0.3
            )
        return latest

    def events(self) -> dict[str, dict[str, Any]]:
        """Return the events of the latest live migration, by name."""
        path = f'/servers/{self.uuid}/os-instance-actions'
        listed = self._api.compute('GET', path)['instanceActions']
        request = next(
            each['request_id']
            for each in listed
            if each['action'] == 'live-migration'
        )
        shown = self._api.compute('GET', f'{path}/{request}')
        return {
            each['event']: each for each in shown['instanceAction']['events']
        }

    def abort(self) -> None:
        """Ask Nova to abort the server's latest migration."""
        latest = self.migrations()[0]
        self._api.compute(
            'DELETE', f'/servers/{self.uuid}/migrations/{latest.id}'
        )

    def runs_on(self) -> list[str]:
        """Return the hosts that the guest runs on, says libvirt."""
        return [
            each.name for each in self._computes if self.uuid in each.running()
        ]

    def bindings(self) -> dict[str, str]:
        """Return the states of the port's bindings, by host."""
        return self._api.call(lambda to: network.bindings(to, self.uuid))

    def verdicts(self) -> list[records.Verdict]:
        """Check all records on the disks of the host that the guest runs on.

        The guest is suspended meanwhile, which makes QEMU write out the
        tables of qcow2 images.
        """
        (name,) = self.runs_on()
        at = next(each for each in self._computes if each.name == name)
        domain = at.domain(self.uuid)
        # Nova shows a migration as cancelled before libvirt has ended the
        # job. A suspended guest would keep that job from ending.
        if not waiting.until(
            lambda: domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE,
            timeout=_SECONDS,
        ):
            raise AssertionError(f'the domain job of {self.uuid} does not end')
        domain.suspend()
        try:
            self.log.catch_up()
            written = {each: self.log.written(each) for each in self.targets}
            contents = {
                target: self._content(at, source, driver)
                for target, source, driver in _disks(domain.XMLDesc())
                if target in self.targets
            }
        finally:
            domain.resume()
        return [
            records.check(
                target, contents[target], self._writes.where, written[target]
            )
            for target in self.targets
        ]

    def delete(self) -> None:
        """Delete the server, and wait until Nova has deleted it."""
        self.log.stop()
        self._api.compute('DELETE', f'/servers/{self.uuid}')
        if not waiting.until(
            lambda: not self.facts(), timeout=_SECONDS, interval=0.3
        ):
            raise AssertionError(f'server {self.uuid} is not deleted')

    def _act(self, action: dict[str, Any]) -> None:
        self._api.compute('POST', f'/servers/{self.uuid}/action', action)

    def _content(self, at: compute.Compute, source: str, driver: str) -> bytes:
        """Return the guest-visible content of the region of records."""
        region = self._writes.where
        flat = at.host.home / f'{self.uuid}.flat'
        at.host.run(
            *('qemu-img', 'dd', '-U', '-f', driver, '-O', 'raw'),
            *(f'if={source}', f'of={flat}', f'bs={image.MIB}'),
            f'skip={region.offset // image.MIB}',
            f'count={(region.offset + region.length) // image.MIB}',
        )
        try:
            return at.host.outside(flat).read_bytes()
        finally:
            at.host.outside(flat).unlink()


class Log(records.Log):
    """Follows console files that Nova deletes and creates again."""

    def __init__(self, consoles: Sequence[pathlib.Path]) -> None:
        super().__init__(consoles)
        self._files: dict[pathlib.Path, int] = {}

    def catch_up(self) -> None:
        """Wait until all output of the consoles has been read."""
        if not waiting.until(
            lambda: all(
                not console.exists()
                or console.stat().st_size == self._positions[console]
                for console in self._consoles
            ),
            timeout=_SECONDS,
            interval=0.02,
        ):
            raise AssertionError('the console grows although no guest runs')

    def _read(self, console: pathlib.Path) -> None:
        try:
            found = console.stat()
        except FileNotFoundError:
            return
        before = self._files.get(console)
        if found.st_ino != before or found.st_size < self._positions[console]:
            self._files[console] = found.st_ino
            self._positions[console] = 0
            self._rests[console] = b''
        super()._read(console)


def boot(
    to: api.Api,
    computes: Sequence[compute.Compute],
    at: compute.Compute,
    *,
    name: str = 'guest',
    writes: image.Writes | None = None,
    from_volume: bool = False,
    networked: bool = True,
) -> Server:
    """Boot a server on a host, and wait for a record on each of its disks.

    :param writes: the writes of the guest; None for the default
    :param from_volume: the only disk is a cinder volume, so no disk is on
        the host
    :param networked: the server has a port
    :raises AssertionError: the server does not boot
    """
    usual = image.Writes(disks=1) if from_volume else image.Writes()
    wanted = writes or usual
    picture = to.call(lambda c: image.ensure(c, wanted))
    request = {
        'name': name,
        'networks': [{'uuid': to.call(network.ensure)}]
        if networked
        else 'none',
        'host': at.name,
        **(_on_volume(to, picture) if from_volume else _local(to, picture)),
    }
    made = to.compute('POST', '/servers', {'server': request})
    server = Server(
        to, computes, made['server']['id'], wanted, networked=networked
    )
    server.wait_for_status('ACTIVE', 'ERROR')
    if server.status != 'ACTIVE':
        raise AssertionError(
            f'server {server.uuid} does not boot: {server.facts()["fault"]}'
        )
    at.part_consoles(server.uuid)
    server.log.start()
    for target in server.targets:
        server.log.wait_for_more(target, 1)
    return server


def _local(to: api.Api, picture: str) -> dict[str, Any]:
    return {
        'imageRef': picture,
        'flavorRef': to.call(image.flavor),
        'config_drive': True,
    }


def _on_volume(to: api.Api, picture: str) -> dict[str, Any]:
    volume = {
        'boot_index': 0,
        'uuid': picture,
        'source_type': 'image',
        'destination_type': 'volume',
        'volume_size': 1,
        'delete_on_termination': True,
    }
    return {
        'flavorRef': to.call(lambda c: image.flavor(c, 'no-disks')),
        'block_device_mapping_v2': [volume],
    }


def _disks(xml: str) -> list[tuple[str, str, str]]:
    """Return target, source and format of each disk of a domain."""
    return [
        (
            str(disk.xpath('string(target/@dev)')),
            str(disk.xpath('string(source/@file | source/@dev)')),
            str(disk.xpath('string(driver/@type)')),
        )
        for disk in etree.fromstring(xml).iterfind('devices/disk')
    ]
