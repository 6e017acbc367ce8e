# SPDX-License-Identifier: Apache-2.0
"""The return of a guest from this host to its source, disks untouched."""

import threading

from nova_blockcopy import conf
from nova_blockcopy import domxml
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import switchover
from nova_blockcopy.runtime import waiting

_ATTEMPTS = 5
#: Seconds in which a guest that was resumed meets its next I/O error.
_WAKE_INTERVAL = 0.5
#: By an I/O error, or by a pivot that was cut short.
_STOPPED = (hypervisor.Power.IO_ERROR, hypervisor.Power.PAUSED)


def give_back(
    guest: hypervisor.Guest,
    moves: tuple[model.Move, ...],
    home: model.Endpoint,
    *,
    live_xml: str,
    persistent_xml: str,
    cancelled: threading.Event,
    settings: conf.Settings,
) -> None:
    """Migrate a guest back onto the disks that it has on its source.

    :param home: the source, as this host's libvirt reaches it
    :raises TooLate: some disk lives on its base here
    :raises SwitchoverError: the guest has not moved
    """

    def attempt() -> None:
        check_remote(guest, moves)
        _wake(guest, settings.call_timeout)
        switchover.run(
            guest,
            home,
            live_xml=live_xml,
            persistent_xml=persistent_xml,
            unsafe=True,
            cancelled=cancelled,
            settings=settings,
        )

    # a guest may meet a dead export only at a switchover
    again = waiting.retrying(
        exception.SwitchoverError, _ATTEMPTS, _WAKE_INTERVAL
    )
    again(attempt)


def check_remote(
    guest: hypervisor.Guest, moves: tuple[model.Move, ...]
) -> None:
    """Pass if a guest still reads every moved disk from its source.

    Else the source's disks are old, and nothing may run from them again.

    :raises TooLate: some disk lives on its base
    """
    disks = domxml.disks(guest.running_xml())
    for move in moves:
        if not isinstance(disks[move.disk].source, model.NetworkSource):
            raise exception.TooLate(
                reason=f'{move.disk} lives on {move.base.path} already.'
            )


def forget_dead(
    guest: hypervisor.Guest | None, moves: tuple[model.Move, ...]
) -> None:
    """Undefine a guest that died on this host; its source starts it again.

    :raises TooLate: some disk lives on its base
    """
    if guest and guest.power() is hypervisor.Power.OFF:
        check_remote(guest, moves)
        guest.undefine()


def _wake(guest: hypervisor.Guest, timeout: float) -> None:
    """Resume a guest that was stopped, until it stays awake.

    An export that was dead is served again by now, but QEMU finds out only
    by trying, and its first try may fail.
    """

    def awake() -> bool:
        if guest.power() not in _STOPPED:
            return True
        guest.resume()
        return False

    waiting.until(awake, timeout=timeout, interval=_WAKE_INTERVAL)
