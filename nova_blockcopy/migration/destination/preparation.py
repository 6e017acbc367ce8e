# SPDX-License-Identifier: Apache-2.0
"""The checks on the destination before a migration begins."""

import dataclasses
import os
from collections.abc import Mapping

from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import needs
from nova_blockcopy import plan
from nova_blockcopy import states
from nova_blockcopy.host import fitness
from nova_blockcopy.host import holders
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu_conf
from nova_blockcopy.host import reach
from nova_blockcopy.host import rehearsal
from nova_blockcopy.migration.destination import base_set
from nova_blockcopy.migration.destination import claims
from nova_blockcopy.migration.destination import host as hosts
from nova_blockcopy.records import journal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A guest that a source wants to send.

    ``peer`` is the source's name, ``boot`` its boot id, and ``home`` how this
    host's libvirt reaches it. ``rehearsal`` is a port to connect to; None for
    no check. ``needs`` are those of the guest; None if the caller of the
    engine takes care of them. ``bases`` are by disk. ``left_alone`` has the
    paths of disks that do not move. Each must exist on this host, too. ``tls``
    is the source's ``export_tls``.
    """

    name: str
    peer: str
    boot: str
    home: model.Endpoint
    rehearsal: model.Rehearsal | None
    needs: needs.Needs | None
    mode: model.Mode
    disks: tuple[model.SourceDisk, ...]
    bases: Mapping[str, model.BaseRequest]
    left_alone: Mapping[str, str]
    tls: bool


def first(
    page: journal.Page, wanted: Wanted, moves: tuple[model.Move, ...]
) -> journal.Record:
    """Make the first record of the migration of a guest."""
    return journal.Record(
        migration=page.migration,
        guest=page.guest,
        name=wanted.name,
        role=model.Role.DESTINATION,
        mode=wanted.mode,
        peer=wanted.peer,
        boot=wanted.boot,
        state=states.State.PREPARING,
        moves=moves,
    )


def check(
    host: hosts.Host, guest: str, bases: base_set.BaseSet, wanted: Wanted
) -> tuple[model.Move, ...]:
    """Pair each disk of a guest with a base, and change nothing.

    :param guest: UUID
    :raises Refused: the guest cannot come to this host
    """
    host.trust.check_home(wanted.home)
    host.trust.check_bases(
        guest,
        wanted.peer,
        [request.path for request in wanted.bases.values()],
    )
    if {disk.disk for disk in wanted.disks} != wanted.bases.keys():
        raise exception.PeerError(
            operation='prepare',
            reason='the source names bases for other disks than those that '
            'move. Check the source host.',
        )
    _check_host(host, guest, wanted)
    _check_connections(host, wanted)
    if wanted.needs is not None:
        fitness.check(host.here, wanted.name, wanted.needs)
    _check_left_alone(host, wanted)
    if wanted.mode is model.Mode.SEEDED:
        bases.check(host.name)
    facts = {
        disk.disk: _base_facts(bases, disk, wanted) for disk in wanted.disks
    }
    plan.check_unique(facts)
    return tuple(
        plan.move(disk, facts[disk.disk], whole=wanted.bases[disk.disk].whole)
        for disk in wanted.disks
    )


def _check_host(host: hosts.Host, guest: str, wanted: Wanted) -> None:
    plan.check_versions(host.name, host.here.versions())
    drivers.load(host.settings, host.here.connect)
    qemu_conf.check_lock_manager(host.name)
    for known in (guest, wanted.name):
        if host.here.find(known) is not None:
            raise exception.GuestExists(guest=wanted.name, host=host.name)
    plan.check_same_encryption(
        *(host.name, host.settings.export_tls),
        *(wanted.peer, wanted.tls),
    )


def _check_connections(host: hosts.Host, wanted: Wanted) -> None:
    timeout = host.settings.call_timeout
    reach.check_source(host.name, wanted.home.uri, timeout)
    if wanted.rehearsal is not None:
        offered = wanted.rehearsal
        fault = claims.place_fault(
            offered.address, offered.port, host.settings
        )
        if fault is not None:
            raise exception.ExportsRefused(host=host.name, reason=f'{fault}.')
        rehearsal.check(host.name, offered, timeout)


def _check_left_alone(host: hosts.Host, wanted: Wanted) -> None:
    host.trust.check_left_alone(wanted.left_alone.values())
    for disk, path in wanted.left_alone.items():
        if not os.path.exists(path):
            raise exception.DiskRefused(
                guest=wanted.name,
                disk=disk,
                reason=f'the disk does not move, but {path} does not exist '
                f'on {host.name}; copy the file there first.',
            )


def _base_facts(
    bases: base_set.BaseSet, disk: model.SourceDisk, wanted: Wanted
) -> plan.BaseFacts:
    request = wanted.bases[disk.disk]
    try:
        image, size = bases.describe(
            disk.disk,
            request.path,
            request.format or disk.image.format,
            # a copy of the content needs a valid header to write to
            by_book=wanted.mode is model.Mode.SEEDED and not request.whole,
        )
        if disk.direct:
            images.check_direct(image.path)
        return plan.BaseFacts(
            image=image,
            size_bytes=size,
            identity=images.identity(image.path),
            holders=holders.of(image.path),
            backing_digest=images.digest(image.backing)
            if disk.backing_digest
            else None,
        )
    except exception.ImageError as e:
        raise exception.BaseRefused(
            path=request.path, disk=disk.disk, reason=e
        ) from e
