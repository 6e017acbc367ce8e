# SPDX-License-Identifier: Apache-2.0
"""tools/demo.sh: migrate a guest with its disks, and account for its writes.

The guest has a block device and a qcow2 file, and writes numbered records to
both all the time. The demo migrates the guest from host a to host b. Then it
looks on host b for each record that a disk has acknowledged.
"""

import argparse
import sys
from collections.abc import Callable
from collections.abc import Sequence

import libvirt
import rich.console
import rich.table

from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cli import screen
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import scene
from nova_blockcopy.tests.lab import trial

_KINDS = ('block', 'layered')
#: Seconds between two records of a disk.
_INTERVAL = 0.005
_SMALLEST_MIB = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    :returns: 0 if no data was lost, 1 if some was, 2 if the demo cannot run
    """
    options = _parser().parse_args(argv)
    console = rich.console.Console()
    # without a handler, libvirt prints each error besides raising it
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    lab.sweep()
    it = lab.Lab()
    try:
        console.print('Starting two hosts, and a guest on host a')
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
        with screen.Screen(console) as view:
            if not options.native:
                return trial.by_engine(made, view.show, damage=options.damage)
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
            f'Disks that changed outside of the records: '
            f'{", ".join(outcome.changed)}',
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
        help='seeded copies the disks before the switchover, direct after '
        'it (default: seeded)',
    )
    parser.add_argument(
        '--bandwidth',
        type=_number(0),
        default=0,
        metavar='MiB/s',
        help='bandwidth limit for both disks together (default: 0, no limit)',
    )
    parser.add_argument(
        '--size',
        type=_number(_SMALLEST_MIB),
        default=512,
        metavar='MiB',
        help='size of each disk; half of it is filled (default: 512)',
    )
    parser.add_argument(
        '--native',
        action='store_true',
        help='migrate by virsh migrate --copy-storage-all, for comparison',
    )
    parser.add_argument(
        '--damage',
        action='store_true',
        help='damage two records after the migration, to test the check',
    )
    return parser


def _number(minimum: int) -> Callable[[str], int]:
    """Return an argument type for integers of at least a minimum."""

    def number(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(
                f'{value} is too small; the minimum is {minimum}'
            )
        return value

    return number


if __name__ == '__main__':
    sys.exit(main())
