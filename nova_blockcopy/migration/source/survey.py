# SPDX-License-Identifier: Apache-2.0
"""The survey of the source before a migration. It changes nothing.

The checks are those of a migration. A survey goes on after a check that
fails, and collects all reasons.
"""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping

from nova_blockcopy import appraisal
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.host import reach
from nova_blockcopy.host import sight
from nova_blockcopy.host import usage
from nova_blockcopy.migration import objections
from nova_blockcopy.migration import reservations
from nova_blockcopy.migration.source import readiness
from nova_blockcopy.records import journal

#: Seconds to wait for a port of the other host.
PATIENCE = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The disks of a guest that move, by target, and those that are shared.

    ``whole`` are those of ``moves`` that travel with all layers. ``shared``
    has the disks that the destination reaches without a copy.
    """

    moves: Collection[str]
    whole: Collection[str] = ()
    shared: Mapping[str, str] = dataclasses.field(default_factory=dict)


Choose = Callable[[str, Mapping[str, model.Disk]], Choice]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The source's part of an appraisal.

    ``guest`` is None if the guest was not found. ``xml`` is its running
    domain.
    """

    side: appraisal.Side
    guest: hypervisor.Guest | None = None
    disks: tuple[appraisal.Disk, ...] = ()
    left_alone: tuple[plan.LeftAlone, ...] = ()
    xml: str = ''


class Survey:
    """The survey of one host for one guest. Runs on the source.

    :param here: this host's libvirt
    :param peer: the destination's name
    :param choose: tells which disks move, by the guest's XML and its disks
    """

    def __init__(
        self,
        here: hypervisor.Hypervisor,
        settings: conf.Settings,
        peer: str,
        choose: Choose,
    ) -> None:
        self._here = here
        self._settings = settings
        self._peer = peer
        self._choose = choose
        self._readiness = readiness.Readiness(here, settings)
        self._found = objections.Objections()

    def look(self, guest: str) -> Found:
        """Look at this host and at the guest.

        :param guest: UUID or name
        """
        noted = self._found
        for check in self._readiness.checks():
            noted.of(check)
        noted.of(lambda: self._readiness.peer(self._peer))
        known = noted.of(lambda: self._here.guest(guest))
        if known is None:
            return Found(side=self._side())
        noted.of(lambda: self._check_settled(known))
        noted.of(lambda: self._readiness.check_power(known))
        seen = noted.of(lambda: sight.look(known))
        if seen is None:
            return Found(side=self._side(), guest=known)
        noted.add(self._readiness.busy(known, seen))
        xml = noted.of(known.running_xml) or ''
        chosen = self._choose(xml, seen.disks)
        return Found(
            guest=known,
            left_alone=self._left_alone(known, seen, chosen),
            disks=self._disks(known, seen, chosen),
            xml=xml,
            side=self._side(),
        )

    def _check_settled(self, guest: hypervisor.Guest) -> None:
        at = journal.Journal(self._settings.journal_dir)
        record = at.find(guest.uuid)
        if record is not None:
            raise exception.UnfinishedMigration(
                guest=guest.name,
                state=record.state,
                path=at.path(guest.uuid),
                host=self._here.host,
            )

    def _left_alone(
        self, guest: hypervisor.Guest, seen: sight.Sight, chosen: Choice
    ) -> tuple[plan.LeftAlone, ...]:
        wanted = (guest.name, seen.disks, tuple(chosen.moves), chosen.shared)
        against = list(plan.objections(*wanted))
        self._found.add(against)
        return () if against else plan.select(*wanted).left_alone

    def _disks(
        self, guest: hypervisor.Guest, seen: sight.Sight, chosen: Choice
    ) -> tuple[appraisal.Disk, ...]:
        found = (
            self._found.of(
                functools.partial(self._disk, guest, seen, target, chosen)
            )
            for target in seen.disks
            if target in chosen.moves
        )
        return tuple(filter(None, found))

    def _disk(
        self,
        guest: hypervisor.Guest,
        seen: sight.Sight,
        target: str,
        chosen: Choice,
    ) -> appraisal.Disk | None:
        image = seen.disks[target].source
        if not isinstance(image, model.Image):
            return None  # which is among the refusals
        try:
            images.check_direct(image.path)  # its export needs that
            size = images.size(image)
            travels = images.to_copy(
                image, size, content=target in chosen.whole
            )
        except exception.ImageError as e:
            raise exception.DiskRefused(
                guest=guest.name, disk=target, reason=e
            ) from e
        return appraisal.Disk(
            disk=target,
            image=image,
            size_bytes=size,
            travel_bytes=extents.total(travels),
            whole=target in chosen.whole,
        )

    def _side(self) -> appraisal.Side:
        wanted, noted = self._settings, self._found
        rooms: tuple[appraisal.Room, ...] = ()
        if wanted.mode is model.Mode.SEEDED:
            noted.of(lambda: reservations.examine(wanted))
            free = usage.free(wanted.delta_dir)
            if free is not None:
                rooms = (
                    appraisal.Room(
                        purpose='the deltas',
                        place=wanted.delta_dir,
                        free_bytes=free,
                        needed_bytes=0,
                    ),
                )
        versions = noted.of(self._here.versions)
        return appraisal.Side(
            host=self._here.host,
            libvirt=versions.libvirt if versions else 0,
            hypervisor=versions.hypervisor if versions else 0,
            tls=wanted.export_tls,
            rooms=rooms,
            refusals=tuple(noted.refusals),
            unseeded=tuple(noted.unseeded),
        )


def tried(side: appraisal.Side, uri: str) -> appraisal.Side:
    """Add the port of the destination's libvirt to the facts of the source.

    :param uri: by which this host's libvirt reaches that of the destination
    """
    fault = reach.fault(uri, PATIENCE)
    refusals = side.refusals
    if fault:
        error = exception.DestinationUnreachable(
            uri=uri, host=side.host, reason=fault
        )
        refusals = (*refusals, str(error))
    port = appraisal.Port(purpose="libvirt's port", address=uri, fault=fault)
    return dataclasses.replace(
        side, ports=(*side.ports, port), refusals=refusals
    )


def rules(settings: conf.Settings) -> appraisal.Rules:
    """The options of this host that count for an appraisal."""
    return appraisal.Rules(
        mode=settings.mode,
        limit=settings.copy.bandwidth,
        longest_window_s=settings.max_remote_window,
        rounds=settings.seed_rounds,
        granularity=settings.granularity,
        aborts_on_shortfall=settings.seed_shortfall_action == 'abort',
        delta_min_free=settings.delta_min_free,
        delta_max_size=settings.delta_max_size,
    )
