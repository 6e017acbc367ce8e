# SPDX-License-Identifier: Apache-2.0
"""The texts of the lines that follow a migration in the log. Pure."""

from nova_blockcopy import bandwidth
from nova_blockcopy import forecast


def round_done(
    number: int, now: forecast.Forecast, advice: forecast.Advice
) -> str:
    """The end of a round of seeding, and what comes next."""
    return f'Round {number} of seeding: {now}; {advice}'


def shortfall(
    now: forecast.Forecast, longest: float, guest_limit: int | None
) -> str:
    """A forecast that is too long, and what is done about it.

    :param longest: ``max_remote_window``, in seconds
    :param guest_limit: bytes/s that the guest may write to all disks
        together; None if the migration is undone instead
    """
    remedy = (
        'The migration is undone, because [blockcopy] seed_shortfall_action '
        'is abort'
        if guest_limit is None
        else f'The guest moves now, and may write at most '
        f'{guest_limit / bandwidth.MIB:.1f} MiB/s until its disks are copied'
    )
    return (
        f'The guest writes faster than its disks are copied: {now}, and '
        f'[blockcopy] max_remote_window is {longest:g} s. {remedy}'
    )
