# SPDX-License-Identifier: Apache-2.0
"""The display of running migrations: their states, and a bar for each disk.

All figures are those of the engine. A bar of rich would compute its own rate,
which is wrong when the total grows. Without a terminal, the display prints
plain lines.
"""

import time
from collections.abc import Callable
from typing import Any

import rich.console
import rich.progress

from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.cli import phases
from nova_blockcopy.cli import words

#: Seconds between two plain lines in the same state.
_INTERVAL = 10.0
_BAR = 20


class Screen:
    """Shows the progress of one or more guests.

    :param console: where to
    :param clock: returns seconds that never go back
    """

    def __init__(
        self,
        console: rich.console.Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn('{task.description}'),
            rich.progress.BarColumn(bar_width=_BAR),
            rich.progress.TextColumn('{task.fields[share]:>4}'),
            rich.progress.TextColumn('{task.fields[done]:>18}'),
            rich.progress.TextColumn('{task.fields[rate]:>11}'),
            rich.progress.TextColumn('{task.fields[left]:>6}'),
            console=console,
            # a frame has the figures of all disks, or of none
            auto_refresh=False,
        )
        self._tasks: dict[tuple[str, str], rich.progress.TaskID] = {}
        self._states: dict[str, states.State] = {}
        self._said_at: dict[str, float] = {}

    def __enter__(self) -> 'Screen':
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, now: progress.Progress, guest: str = '') -> None:
        """Show the progress of a guest.

        :param guest: the name; '' if there is only one
        """
        prefix = f'{guest} ' if guest else ''
        if self._states.get(guest) is not now.state:
            self._states[guest] = now.state
            self.say(f'{prefix}{now.state:>10}: {phases.SAID[now.state]}')
        self.bars(now, guest)

    def bars(self, now: progress.Progress, guest: str = '') -> None:
        """Show the figures of the disks only."""
        if self._console.is_terminal:
            for disk in now.disks:
                self._bar(guest, disk, now)
            self._bars.refresh()
        elif now.disks and self._due(guest):
            self.say(f'{guest} {now}'.strip())

    def _due(self, guest: str) -> bool:
        now = self._clock()
        due = now - self._said_at.get(guest, -_INTERVAL) >= _INTERVAL
        if due:
            self._said_at[guest] = now
        return due

    def _bar(
        self, guest: str, disk: model.DiskProgress, now: progress.Progress
    ) -> None:
        key = (guest, disk.disk)
        done, total = disk.processed_bytes, disk.total_bytes
        figures: dict[str, Any] = {
            'share': words.percent(done, total),
            'done': f'{words.size(done)}/{words.size(total)}'.replace(' ', ''),
            'rate': words.speed(now.rates.get(disk.disk, 0.0)),
            'left': words.span(now.time_left_of(disk)),
        }
        if key not in self._tasks:
            name = f'{guest} {disk.disk}'.strip()
            self._tasks[key] = self._bars.add_task(
                f'  {name}', visible=False, **figures
            )
        self._bars.update(
            self._tasks[key],
            total=max(total, 1),
            completed=done,
            visible=True,
            **figures,
        )
