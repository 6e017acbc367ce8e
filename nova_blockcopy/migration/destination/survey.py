# SPDX-License-Identifier: Apache-2.0
"""The survey of the destination before a migration. It changes nothing.

There are no bases yet, so it looks only at the host. A survey goes on after a
check that fails, and collects all reasons.
"""

import functools

from nova_blockcopy import appraisal
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import certificates
from nova_blockcopy.host import qemu_conf
from nova_blockcopy.host import reach
from nova_blockcopy.host import rehearsal
from nova_blockcopy.host import usage
from nova_blockcopy.migration import objections
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.destination import claims
from nova_blockcopy.migration.destination import host as hosts

#: Seconds to wait for a port of the source.
_PATIENCE = 5.0


class Survey:
    """The survey of one host for one guest. Runs on the destination.

    :param guest: UUID
    """

    def __init__(
        self, host: hosts.Host, guest: str, wanted: appraisal.Question
    ) -> None:
        self._host = host
        self._guest = guest
        self._wanted = wanted
        self._found = objections.Objections()

    def look(self) -> appraisal.Side:
        """Look at this host."""
        host, noted = self._host, self._found
        versions = noted.of(host.here.versions)
        if versions is not None:
            noted.of(lambda: plan.check_versions(host.name, versions))
        for check in (
            lambda: drivers.load(host.settings, host.here.connect),
            lambda: qemu_conf.check_lock_manager(host.name),
            self._check_encryption,
            self._check_settled,
        ):
            noted.of(check)
        for known in (self._guest, self._wanted.name):
            noted.of(functools.partial(self._check_absent, known))
        ports = self._ports()
        rooms = self._rooms()
        surroundings = host.surroundings.survey(
            self._guest, self._wanted.needs
        )
        return appraisal.Side(
            host=host.name,
            libvirt=versions.libvirt if versions else 0,
            hypervisor=versions.hypervisor if versions else 0,
            tls=host.settings.export_tls,
            address=host.surroundings.address(),
            rooms=(*surroundings.rooms, *rooms),
            ports=ports,
            refusals=(*noted.refusals, *surroundings.refusals),
            unseeded=tuple(noted.unseeded),
            link_rate=self._link_rate(ports),
        )

    def _check_encryption(self) -> None:
        plan.check_same_encryption(
            *(self._host.name, self._host.settings.export_tls),
            *(self._wanted.peer, self._wanted.tls),
        )

    def _check_settled(self) -> None:
        at = self._host.journal
        record = at.find(self._guest)
        if record is not None:
            raise exception.UnfinishedMigration(
                guest=self._wanted.name,
                state=record.state,
                path=at.path(self._guest),
                host=self._host.name,
            )

    def _check_absent(self, guest: str) -> None:
        if self._host.here.find(guest) is not None:
            raise exception.GuestExists(
                guest=self._wanted.name, host=self._host.name
            )

    def _ports(self) -> tuple[appraisal.Port, ...]:
        """Connect to the ports of the source that a migration needs."""
        home, offered = self._wanted.home, self._wanted.rehearsal
        refused = len(self._found.refusals)
        self._found.of(lambda: self._host.trust.check_home(home))
        if len(self._found.refusals) > refused:
            return ()  # a message decides nothing about connections
        name, settings = self._host.name, self._host.settings
        found = [
            self._tried(
                "libvirt's port",
                home.uri,
                lambda: reach.check_source(name, home.uri, _PATIENCE),
            )
        ]
        if offered is not None:
            fault = claims.place_fault(offered.address, offered.port, settings)
            found.append(
                self._tried(
                    'first free port of the exports',
                    f'{offered.address}:{offered.port}',
                    lambda: _connect(name, offered, fault),
                )
            )
        return tuple(found)

    def _link_rate(self, ports: tuple[appraisal.Port, ...]) -> float:
        offered = self._wanted.rehearsal
        if (
            offered is None
            or not self._wanted.measures
            or not ports
            or ports[-1].fault
        ):
            return 0.0
        return rehearsal.measure(offered, _PATIENCE)

    def _tried(
        self, purpose: str, address: str, check: objections.Check
    ) -> appraisal.Port:
        fault = ''
        try:
            check()
        except exception.Refused as e:
            self._found.add([e])
            fault = str(e)
        return appraisal.Port(purpose=purpose, address=address, fault=fault)

    def _rooms(self) -> tuple[appraisal.Room, ...]:
        settings = self._host.settings
        if self._wanted.mode is not model.Mode.SEEDED:
            return ()
        self._found.of(
            lambda: certificates.check(
                self._host.name, settings, model.Side.CLIENT
            )
        )
        self._found.of(lambda: reservations.examine(settings))
        free = usage.free(settings.delta_dir)
        if free is None:
            return ()
        return (
            appraisal.Room(
                purpose='the deltas of further rounds',
                place=settings.delta_dir,
                free_bytes=free,
                needed_bytes=0,
            ),
        )


def _connect(host: str, offered: model.Rehearsal, fault: str | None) -> None:
    if fault is not None:
        raise exception.ExportsRefused(host=host, reason=f'{fault}.')
    rehearsal.check(host, offered, _PATIENCE)
