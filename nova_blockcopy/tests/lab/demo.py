# SPDX-License-Identifier: Apache-2.0
"""tools/demo.sh: a guest and its disks move, and nothing is lost.

A guest with a block device and a qcow2 file, which writes numbered records
to both all the time, moves from host a to host b. Afterwards each record
that its disks had acknowledged is looked for.
"""

import argparse
import sys
from collections.abc import Callable
from collections.abc import Sequence

import libvirt
import rich.console
import rich.progress
import rich.table

from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import scene
from nova_blockcopy.tests.lab import trial

_KINDS = ('block', 'layered')
#: Seconds between two records of a disk.
_INTERVAL = 0.005
_SMALLEST_MIB = 64
_SAID = {
    states.State.PREPARING: 'host b checks the bases that wait for the disks',
    states.State.FREEZING: 'the guest writes to deltas from now on',
    states.State.SEEDING: 'its disks are copied while it runs on host a',
    states.State.EXPORTING: 'host a serves its disks over NBD',
    states.State.SWITCHING: 'the memory moves to host b',
    states.State.COPYING: 'the guest runs on host b, its disks are copied',
    states.State.READY: 'each write of the guest goes to both hosts',
    states.State.PIVOTING: 'the guest takes to its disks on host b',
    states.State.RELEASING: 'that is proven, so host a gives up its disks',
    states.State.ENDED: 'done',
}


class View:
    """What a person sees of a migration while it runs."""

    def __init__(self, console: rich.console.Console) -> None:
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn('  {task.description}'),
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(binary_units=True),
            rich.progress.TransferSpeedColumn(),
            rich.progress.TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, rich.progress.TaskID] = {}
        self._state: states.State | None = None

    def __enter__(self) -> 'View':
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def engine(self, now: progress.Progress) -> None:
        if now.state is not self._state:
            self._state = now.state
            self._bars.console.print(f'{now.state:>10}: {_SAID[now.state]}')
        self.bars(now)

    def bars(self, now: progress.Progress) -> None:
        for disk in now.disks:
            if disk.disk not in self._tasks:
                self._tasks[disk.disk] = self._bars.add_task(disk.disk)
            self._bars.update(
                self._tasks[disk.disk],
                total=disk.total_bytes or None,
                completed=disk.processed_bytes,
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 if no record was lost, 1 if one was, 2 if it cannot run."""
    options = _parser().parse_args(argv)
    console = rich.console.Console()
    # errors are raised; libvirt would print them as well
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    lab.sweep()
    it = lab.Lab()
    try:
        console.print('Bringing two hosts up, and a guest on host a')
        it.up()
        outcome = _run(it, options, console)
    except (host.LabError, exception.BlockCopyError) as e:
        print(e, file=sys.stderr)
        return 2
    finally:
        it.down()
    _show(outcome, options, console)
    return 0 if outcome.intact else 1


def _run(
    it: lab.Lab, options: argparse.Namespace, console: rich.console.Console
) -> trial.Outcome:
    size = options.size * scene.MIB
    made = scene.Scene.set(
        it,
        _KINDS,
        size=size,
        data=size // 2,
        region=min(size // 4, 256 * scene.MIB),
        interval=_INTERVAL,
        driver=options.driver,
        mode=options.mode,
        block_migration_bandwidth=options.bandwidth,
    )
    try:
        with View(console) as view:
            if not options.native:
                return trial.by_engine(
                    made, view.engine, damage=options.damage
                )
            return trial.by_libvirt(
                made,
                view.bars,
                bandwidth=options.bandwidth,
                damage=options.damage,
            )
    finally:
        made.guest.end()


def _show(
    outcome: trial.Outcome,
    options: argparse.Namespace,
    console: rich.console.Console,
) -> None:
    way = (
        'virsh migrate --copy-storage-all'
        if options.native
        else f'nova-blockcopy, driver {options.driver}, {options.mode} mode'
    )
    figures = rich.table.Table(title=way, show_header=False)
    for name, value in (
        ('switchover', _seconds(outcome.switchover_s)),
        ('copy, up to the proven pivot', _seconds(outcome.copy_s)),
        ('all together', _seconds(outcome.total_s)),
        (
            'longest gap between two guest writes',
            _seconds(outcome.longest_gap_s),
        ),
        ('copied', f'{outcome.copied_bytes / scene.MIB:.0f} MiB'),
    ):
        figures.add_row(name, value)
    console.print(figures)
    for kind, verdict in zip(_KINDS, outcome.verdicts, strict=True):
        console.print(
            f'{verdict.disk} ({kind}): records written {verdict.written}, '
            f'missing {verdict.missing}, wrong {verdict.wrong}',
            style='green' if verdict.intact else 'bold red',
            highlight=False,
        )
    if outcome.changed:
        console.print(
            f'Changed outside of the records: {", ".join(outcome.changed)}',
            style='bold red',
        )
    if not outcome.intact:
        console.print('DAMAGED: data was lost', style='bold red')


def _seconds(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f} s'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tools/demo.sh',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--driver',
        choices=drivers.installed(),
        default='libvirt',
        help='the copy driver (default: libvirt)',
    )
    parser.add_argument(
        '--mode',
        choices=[mode.value for mode in model.Mode],
        default=model.Mode.SEEDED.value,
        help='when the bulk of the disks travels (default: seeded, before '
        'the guest)',
    )
    parser.add_argument(
        '--bandwidth',
        type=_number(0),
        default=0,
        metavar='MiB/s',
        help='limit for both disks together; 0, the default, is no limit',
    )
    parser.add_argument(
        '--size',
        type=_number(_SMALLEST_MIB),
        default=512,
        metavar='MiB',
        help='of each disk; half of it is filled (default: 512)',
    )
    parser.add_argument(
        '--native',
        action='store_true',
        help='by virsh migrate --copy-storage-all, for comparison',
    )
    parser.add_argument(
        '--damage',
        action='store_true',
        help='spoil two records afterwards, to see that it is noticed',
    )
    return parser


def _number(minimum: int) -> Callable[[str], int]:
    """An argument type: an integer from a minimum up."""

    def number(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(
                f'{value} is too small, {minimum} is the least'
            )
        return value

    return number


if __name__ == '__main__':
    sys.exit(main())
