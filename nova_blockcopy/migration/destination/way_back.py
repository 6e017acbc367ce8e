# SPDX-License-Identifier: Apache-2.0
"""The return of a guest from the destination to the disks on the source."""

import threading

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import transplant
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import switchover
from nova_blockcopy.migration import pauses
from nova_blockcopy.runtime import waiting

#: How often the guest is sent, and the seconds between two attempts.
_ATTEMPTS = 5
_PAUSE = 0.5


def give_back(
    guest: hypervisor.Guest,
    stops: pauses.Pauses,
    moves: tuple[model.Move, ...],
    home: model.Endpoint,
    *,
    live_xml: str,
    persistent_xml: str,
    cancelled: threading.Event,
    settings: conf.Settings,
) -> None:
    """Migrate a guest back to the disks on the source.

    :param home: where this host's libvirt reaches the source
    :raises TooLate: some disk uses the base on this host already
    :raises Disturbed: another program has changed the disks of the guest
    :raises SwitchoverError: the guest is still on this host
    """

    def attempt() -> None:
        check_remote(guest, moves)
        stops.wake(settings.call_timeout)
        present = guest.running_xml()
        _check_attached(guest, live_xml, present)
        pauses.activate(guest)
        switchover.run(
            guest,
            home,
            live_xml=transplant.without_detached(live_xml, present),
            persistent_xml=persistent_xml,
            cancelled=cancelled,
            settings=settings,
        )

    # some guests notice a dead export only when they are migrated
    again = waiting.retrying(exception.SwitchoverError, _ATTEMPTS, _PAUSE)
    again(attempt)


def check_remote(
    guest: hypervisor.Guest, moves: tuple[model.Move, ...]
) -> None:
    """Pass if a guest still reads every moved disk from the source.

    Otherwise the source's disks are old, and no guest may use them again. A
    disk that another program has detached is still on the source only.

    :raises TooLate: some disk uses the base already
    :raises Disturbed: another program has put an image on top of an export
    """
    disks = domxml.disks(guest.running_xml())
    for move in moves:
        disk = disks.get(move.disk)
        if disk is None or isinstance(disk.source, model.NetworkSource):
            continue
        if disk.top_path == move.base.path:
            raise exception.TooLate(
                reason=f'the guest uses {move.base.path} for disk '
                f'{move.disk} already.'
            )
        raise guest.disturbed(
            f'disk {move.disk} writes to {disk.top_path}. A backup '
            f'tool, or an external snapshot, has put that image there. Merge '
            f'it into the layer below with "virsh blockcommit {guest.name} '
            f'{move.disk} --active --pivot". Then the migration can be '
            f'settled.',
        )


def _check_attached(
    guest: hypervisor.Guest, live_xml: str, present: str
) -> None:
    """Pass if the guest got no further disk on this host.

    :param live_xml: the definition for the source
    :param present: the definition of the running guest
    :raises Disturbed: the source does not have a disk of the guest
    """
    attached = domxml.disks(present).keys() - domxml.disks(live_xml).keys()
    if attached:
        target = min(attached)
        raise guest.disturbed(
            f'disk {target} was attached there. The guest cannot '
            f'return to its source with that disk. Detach the disk with '
            f'"virsh detach-disk {guest.name} {target} --live". Then the '
            f'migration can be undone.',
        )


def forget_dead(
    guest: hypervisor.Guest | None, moves: tuple[model.Move, ...]
) -> None:
    """Undefine a guest that ended here, so that it can start on the source.

    :raises TooLate: some disk uses the base already
    """
    if guest and guest.power() is hypervisor.Power.OFF:
        check_remote(guest, moves)
        guest.undefine()
