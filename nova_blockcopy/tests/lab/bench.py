# SPDX-License-Identifier: Apache-2.0
"""tools/bench: measure migrations between the two hosts of a lab.

The absolute figures depend on the machine, so each part compares figures of
one run. The project sets bounds for the ratios. The exit code is 1 if a ratio
is out of its bounds, except with --quick.

windows: seconds for which a guest depends on both hosts, by size of its disk.
total: a whole migration over a limited link, compared with "virsh migrate
--copy-storage-all". seed: the share of a limited link that seeding uses.
reads: random reads of 4 KiB per second of a guest that depends on both hosts.
stops: the longest stop of a guest while its neighbours are seeded.
tools: seeding by other programs, and with other numbers and sizes of pieces.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import libvirt
import rich.console
import rich.table

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import extents
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.lab import bulk
from nova_blockcopy.tests.lab import figures
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import neighbours
from nova_blockcopy.tests.lab import scene
from nova_blockcopy.tests.lab import trial

MIB = scene.MIB
_NATIVE = 'native'
#: The bounds that the project has set for itself: ratios, or seconds (_S).
_WINDOW_SPREAD = 1.5
_WINDOW_S = 2.0
_TOTAL = 1.15
_LINK_SHARE = 0.95
_STOPS = 1.5
_WORKERS = (1, 2, 4, 8)
_PIECES = (4, 16, 64)
_SEED_RUNS = 3
#: MiB/s.
_SEED_LIMIT = 64
#: How many guests are seeded beside another one.
_NEIGHBOURS = 4
#: Seconds; the default of the product, while tests poll more often.
_POLL = next(
    o.default for o in conf.BLOCKCOPY_OPTS if o.name == 'poll_interval'
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The writes of a guest.

    ``interval`` is the time between two records in seconds. ``extra`` are
    other writes in bytes/s.
    """

    name: str
    interval: float
    extra: int


_QUIET = Load(name='quiet', interval=0.05, extra=0)
_BUSY = Load(name='writing', interval=0.01, extra=2 * MIB)
#: Writes more than the bandwidth limit allows, so the window is long.
_HEAVY = Load(name='writing too fast', interval=0.05, extra=64 * MIB)
_HEAVY_LIMIT = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: its title, the key and format of its figure."""

    title: str
    key: str
    form: str = '{}'


_WINDOW_COLUMNS = (
    Column(title='disk', key='size_mib', form='{} MiB'),
    Column(title='data in it', key='data_mib', form='{} MiB'),
    Column(title='guest', key='load'),
    Column(title='seeding', key='seed_s', form='{:.2f} s'),
    Column(title='switchover', key='switchover_s', form='{:.2f} s'),
    Column(title='remote window', key='window_s', form='{:.2f} s'),
    Column(title='all', key='total_s', form='{:.2f} s'),
    Column(title='longest gap', key='gap_s', form='{:.2f} s'),
)
_TOTAL_COLUMNS = (
    Column(title='way', key='way'),
    *_WINDOW_COLUMNS[:2],
    *_WINDOW_COLUMNS[3:],
    Column(title='/ native', key='to_native', form='{:.3f}'),
)
_READ_COLUMNS = (
    *_WINDOW_COLUMNS[:1],
    _WINDOW_COLUMNS[2],
    Column(title='link', key='link'),
    _WINDOW_COLUMNS[5],
    Column(title='reads/s at home', key='home', form='{:.0f}'),
    Column(title='in the window', key='window', form='{:.0f}'),
    Column(title='/ at home', key='to_home', form='{:.2f}'),
)
_STOP_COLUMNS = (
    Column(title='guest', key='place'),
    *_WINDOW_COLUMNS[3:],
    Column(title='/ alone', key='to_alone', form='{:.2f}'),
)
_RUN_COLUMNS = (
    Column(title='way', key='way'),
    Column(title='link', key='link'),
    Column(title='time', key='seconds', form='{:.2f} s'),
    Column(title='MiB/s', key='mib_per_s', form='{:.1f}'),
    Column(title='of link', key='payload_share', form='{:.3f}'),
    Column(title='of TCP', key='tcp_share', form='{:.3f}'),
    Column(title='frames', key='frame_share', form='{:.3f}'),
    Column(title='of limit', key='limit_share', form='{:.3f}'),
    Column(title='CPU b', key='client_cpu_s', form='{:.2f} s'),
    Column(title='CPU a', key='server_cpu_s', form='{:.2f} s'),
)
_WIDTH = 120
Rows = list[dict[str, Any]]


class Bench:
    """Runs parts of the benchmark and collects their findings."""

    def __init__(
        self, options: argparse.Namespace, console: rich.console.Console
    ) -> None:
        self._options = options
        self._console = console
        self.findings: list[figures.Finding] = []
        self.parts: dict[str, Rows] = {}

    def run(self, part: str) -> None:
        """Run one part and print its table."""
        before = os.getloadavg()[0]
        columns, rows = _PARTS[part](self)
        self.parts[part] = rows
        title = f'{part} (load of the machine before: {before:.1f})'
        self._console.print(_table(title, columns, rows))

    def windows(self) -> tuple[Sequence[Column], Rows]:
        """Measure the remote window for disks of several sizes."""
        rows: Rows = []
        for load in (_QUIET, _BUSY):
            found = [
                self._window(size, load, rows) for size in self._options.sizes
            ]
            self._judge(
                f'windows, longest / shortest, guest {load.name}',
                figures.spread(found),
                _WINDOW_SPREAD,
            )
            if load is _QUIET:
                self._judge('longest window, s', max(found), _WINDOW_S)
        return _WINDOW_COLUMNS, rows

    def _window(self, size: int, load: Load, rows: Rows) -> float:
        """Return the median of all runs in seconds; each run adds a row."""
        way = self._options.mode
        found: list[float] = []
        for _run in range(self._options.repeat):
            with self._scene(size, load, way) as made:
                row = self._moved(made, size, load, way)
            rows.append(row)
            found.append(row['window_s'])
        return statistics.median(found)

    def total(self) -> tuple[Sequence[Column], Rows]:
        """Compare whole migrations by libvirt and by each mode."""
        size, limit = self._options.total_size, self._options.bandwidth
        rows: Rows = []
        for way in (_NATIVE, *map(str, model.Mode)):
            with self._scene(size, _BUSY, way) as made:
                made.lab.set_link_rate(None if limit else self._options.link)
                rows.append(self._moved(made, size, _BUSY, way))
            rows[-1]['to_native'] = rows[-1]['total_s'] / rows[0]['total_s']
        for row in rows[1:]:
            self._judge(f'{row["way"]} / native', row['to_native'], _TOTAL)
        return _TOTAL_COLUMNS, rows

    def seed(self) -> tuple[Sequence[Column], Rows]:
        """Measure the share of a limited link that seeding uses."""
        rows = []
        for kind in ('raw', 'block'):
            with self._bulk(kind) as it:
                way = bulk.pieces(self._settings, **self._defaults())
                found = [
                    self._bulk_run(it, kind, way, mbit)
                    for mbit in [self._options.link] * _SEED_RUNS
                ]
                rows += found
                rows.append(self._limited(it, kind))
            share = statistics.median(r['payload_share'] for r in found)
            self._judge(
                f'seeding / all bits of the link, {kind}',
                share,
                _LINK_SHARE,
                at_least=True,
            )
        return _RUN_COLUMNS, rows

    def _limited(self, it: bulk.Bulk, kind: str) -> dict[str, Any]:
        """Measure seeding under the engine's limit, on an unlimited link."""
        limit = _SEED_LIMIT
        way = bulk.pieces(
            self._settings, **self._defaults(), limit=limit * MIB
        )
        row = self._bulk_run(it, f'{kind}, held to {limit} MiB/s', way, None)
        return {**row, 'limit_share': row['mib_per_s'] / limit}

    def reads(self) -> tuple[Sequence[Column], Rows]:
        """Compare a guest's reads in the remote window with those before."""
        return _READ_COLUMNS, [
            self._reads(load, mbit)
            for mbit in (None, self._options.link)
            for load in (_QUIET, _HEAVY)
        ]

    def _reads(self, load: Load, mbit: int | None) -> dict[str, Any]:
        size = min(self._options.sizes)
        limit = _HEAVY_LIMIT if load is _HEAVY else self._options.bandwidth
        seen: dict[states.State, float] = {}

        def listen(now: progress.Progress) -> None:
            seen.setdefault(now.state, time.monotonic())

        with self._scene(
            *(size, load, self._options.mode),
            reader=1e-6,
            block_migration_bandwidth=limit,
            max_remote_window=0.5,
            seed_rounds=2,
        ) as made:
            made.lab.set_link_rate(mbit)
            began = time.monotonic()
            row = self._moved(made, size, load, self._options.mode, listen)
            rate = made.guest.log.read_rate
            home = rate('vda', began, seen[states.State.PREPARING])
            window = rate(
                'vda',
                seen[states.State.COPYING],
                seen[states.State.RELEASING],
            )
        link = f'{mbit} Mbit/s' if mbit else '-'
        ratio = window / home if home else None
        return {
            **row,
            'link': link,
            'home': home,
            'window': window,
            'to_home': ratio,
        }

    def stops(self) -> tuple[Sequence[Column], Rows]:
        """Compare a guest's stops with and without neighbours that seed.

        The neighbours run all the time, so that the processors have the same
        load.
        """
        rows: Rows = []
        with _lab() as it, neighbours.helper(it.b):
            beside = neighbours.Neighbours(it, _NEIGHBOURS)
            for place, around in (
                ('alone', contextlib.nullcontext),
                (f'beside {_NEIGHBOURS} that seed', beside.seeding),
            ):
                with around():
                    rows += [
                        {'place': place, **self._stop(it)}
                        for _run in range(self._options.repeat)
                    ]
            beside.end()
        gaps = [row['gap_s'] for row in rows]
        alone = statistics.median(gaps[: self._options.repeat])
        for row in rows:
            row['to_alone'] = row['gap_s'] / alone
        self._judge(
            'longest stop, beside neighbours that seed / alone',
            statistics.median(gaps[self._options.repeat :]) / alone,
            _STOPS,
        )
        return _STOP_COLUMNS, rows

    def _stop(self, it: lab.Lab) -> dict[str, Any]:
        size, way = min(self._options.sizes), self._options.mode
        with self._set(it, size, _QUIET, way, prefix='measured') as made:
            return self._moved(made, size, _QUIET, way)

    def tools(self) -> tuple[Sequence[Column], Rows]:
        """Compare seeding with other programs and other settings."""
        rows = []
        with self._bulk('raw') as it:
            for mbit in (None, self._options.link):
                for name, way in self._ways():
                    rows.append(self._bulk_run(it, name, way, mbit))
        if not bulk.has_nbdcopy():
            self._console.print('nbdcopy is not installed and is left out')
        return _RUN_COLUMNS, rows

    def _ways(self) -> Iterator[tuple[str, bulk.Way]]:
        yield 'one qemu-img convert', bulk.whole
        if bulk.has_nbdcopy():
            yield 'nbdcopy', bulk.nbdcopy
        sizes = (16,) if self._options.quick else _PIECES
        for size in sizes:
            for workers in _WORKERS:
                yield (
                    f'{size} MiB, {workers} at a time',
                    bulk.pieces(
                        self._settings, workers=workers, piece=size * MIB
                    ),
                )

    @property
    def _settings(self) -> conf.Settings:
        return scene.settings(lab.Lab().b, **self._options.option)

    def _defaults(self) -> dict[str, int]:
        return {
            'workers': self._settings.seed_workers,
            'piece': extents.PIECE,
        }

    def _judge(
        self, name: str, value: float, bound: float, *, at_least: bool = False
    ) -> None:
        self.findings.append(
            figures.Finding(
                name=name, value=value, bound=bound, at_least=at_least
            )
        )

    @contextlib.contextmanager
    def _scene(
        self, size: int, load: Load, way: str, **more: Any
    ) -> Iterator[scene.Scene]:
        """Bring up a lab with a guest whose disk is full of data.

        :param size: size of the disk in MiB
        :param more: arguments of the scene, or options of the engine
        """
        with _lab() as it, self._set(it, size, load, way, **more) as made:
            yield made

    @contextlib.contextmanager
    def _set(
        self, it: lab.Lab, size: int, load: Load, way: str, **more: Any
    ) -> Iterator[scene.Scene]:
        """Start such a guest in a lab."""
        region = _region(size)
        made = scene.Scene.set(
            it,
            (self._options.kind,),
            size=size * MIB,
            data=self._data(size) * MIB,
            region=region * MIB,
            interval=load.interval,
            load=load.extra,
            load_length=region * MIB,
            **{
                'poll_interval': _POLL,
                'mode': model.Mode.DIRECT if way == _NATIVE else way,
                'block_migration_bandwidth': self._options.bandwidth,
                **more,
                **self._options.option,
            },
        )
        try:
            yield made
        finally:
            made.guest.end()

    def _data(self, size: int) -> int:
        """Return the MiB that are filled before the guest starts."""
        return int(min(size - 1 - _region(size), self._options.data))

    def _moved(
        self,
        made: scene.Scene,
        size: int,
        load: Load,
        way: str,
        listener: trial.Listener = lambda _now: None,
    ) -> dict[str, Any]:
        """Migrate the guest by a mode of the engine, or by libvirt alone."""
        self._console.print(f'  {size} MiB, {way}, guest {load.name}')
        if way == _NATIVE:
            outcome = trial.by_libvirt(made, bandwidth=self._options.bandwidth)
        else:
            outcome = trial.by_engine(made, listener)
        if not outcome.intact:
            raise host.LabError(
                f'Data was lost: {outcome.verdicts} {outcome.changed}'
            )
        phases = figures.phases(outcome.began)
        return {
            'way': way,
            'size_mib': size,
            'data_mib': self._data(size),
            'load': load.name,
            'seed_s': phases.get(states.State.SEEDING),
            'switchover_s': outcome.switchover_s,
            'window_s': outcome.copy_s,
            'total_s': outcome.total_s,
            'gap_s': outcome.longest_gap_s,
            'phases': phases,
        }

    @contextlib.contextmanager
    def _bulk(self, kind: str) -> Iterator[bulk.Bulk]:
        with _lab() as it:
            made = bulk.Bulk(it, kind, self._options.bulk_size * MIB)
            yield made

    def _bulk_run(
        self, it: bulk.Bulk, name: str, way: bulk.Way, mbit: int | None
    ) -> dict[str, Any]:
        self._console.print(f'  {name}, link {mbit or "unlimited"}')
        found = it.run(way, mbit)
        row = {
            'way': name,
            'link': f'{mbit} Mbit/s' if mbit else '-',
            **dataclasses.asdict(found),
            'mib_per_s': found.rate / MIB,
        }
        if mbit:
            row |= {
                'payload_share': figures.share(
                    found.data_bytes, found.seconds, mbit
                ),
                'tcp_share': found.rate / figures.line_rate(mbit),
                'frame_share': figures.share(
                    found.wire_bytes, found.seconds, mbit
                ),
            }
        return row


_PARTS: dict[str, Callable[[Bench], tuple[Sequence[Column], Rows]]] = {
    'windows': Bench.windows,
    'total': Bench.total,
    'seed': Bench.seed,
    'reads': Bench.reads,
    'stops': Bench.stops,
    'tools': Bench.tools,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    :returns: 0 if all bounds are kept, 1 if not, 2 if the benchmark cannot run
    """
    options = _options(argv)
    console = rich.console.Console()
    if not console.is_terminal:  # rich takes a file for 80 columns wide
        console.width = _WIDTH
    # without a handler, libvirt prints each error besides raising it
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    lab.sweep()
    bench = Bench(options, console)
    try:
        _check_room(options)
        for part in options.parts:
            bench.run(part)
    except (host.LabError, exception.BlockCopyError) as e:
        print(e, file=sys.stderr)
        return 2
    for finding in bench.findings:
        console.print(
            f'{"kept  " if finding.met else "MISSED"} {finding}',
            style='green' if finding.met else 'bold red',
            highlight=False,
        )
    if options.json:
        _write(options, bench)
    if options.quick:
        console.print('Quick sizes: the bounds are not judged.')
        return 0
    return 0 if all(finding.met for finding in bench.findings) else 1


def _write(options: argparse.Namespace, bench: Bench) -> None:
    with open(options.json, 'w', encoding='utf-8') as f:
        json.dump(
            {
                'machine': {
                    'processors': os.cpu_count(),
                    'kernel': platform.release(),
                    'libvirt': libvirt.getVersion(),
                },
                'options': vars(options),
                'parts': bench.parts,
                'findings': [
                    {**dataclasses.asdict(each), 'met': each.met}
                    for each in bench.findings
                ],
            },
            f,
            indent=2,
        )


def _table(
    title: str, columns: Iterable[Column], rows: Rows
) -> rich.table.Table:
    table = rich.table.Table(title=title)
    for column in columns:
        table.add_column(column.title, justify='right')
    for row in rows:
        table.add_row(
            *(
                '-'
                if row.get(column.key) is None
                else column.form.format(row[column.key])
                for column in columns
            )
        )
    return table


@contextlib.contextmanager
def _lab() -> Iterator[lab.Lab]:
    it = lab.Lab()
    try:
        it.up()
        yield it
    finally:
        it.down()


def _region(size: int) -> int:
    """Return the MiB for the records; the other writes get as many."""
    return min(64, size // 4)


def _check_room(options: argparse.Namespace) -> None:
    """Check that the images of the largest lab have room.

    :raises LabError: they have no room
    """
    largest = max(
        *(min(size, options.data) for size in options.sizes),
        min(options.total_size, options.data),
        options.bulk_size,
    )
    wanted = 2 * largest + 1024
    free = shutil.disk_usage(lab.BASE.parent).free // MIB
    if free < wanted:
        raise host.LabError(
            f'{lab.BASE.parent} has {free} MiB free, but {wanted} MiB are '
            f'needed; make room, or set --data to less.'
        )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    options = _parser().parse_args(argv)
    small = options.quick
    options.parts = options.parts or list(_PARTS)
    options.sizes = options.sizes or ([64, 256] if small else _SIZES)
    options.total_size = options.total_size or (128 if small else 4096)
    options.bulk_size = options.bulk_size or (64 if small else 1024)
    options.option = dict(options.option)
    return options


_SIZES = [1024, 4096, 16384]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tools/bench',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        'parts',
        nargs='*',
        metavar='PART',
        choices=[*_PARTS, []],
        help=f'one or more of {", ".join(_PARTS)} (default: all)',
    )
    add(
        '--quick',
        action='store_true',
        help='use small sizes, to see that the benchmark runs',
    )
    add('--json', metavar='FILE', help='write all figures to this file')
    add(
        '--sizes',
        type=lambda text: [int(size) for size in text.split(',')],
        metavar='MiB,...',
        help='sizes of the disks for windows (default: 1024,4096,16384)',
    )
    add(
        '--data',
        type=int,
        default=4096,
        metavar='MiB',
        help='most data on a disk; the rest is a hole (default: 4096)',
    )
    add(
        '--total-size',
        type=int,
        metavar='MiB',
        help='size of the disk for total (default: 4096)',
    )
    add(
        '--bulk-size',
        type=int,
        metavar='MiB',
        help='size of the disk for seed and tools (default: 1024)',
    )
    add(
        '--link',
        type=int,
        default=1000,
        metavar='Mbit/s',
        help='rate of the link where a part limits the link (default: 1000)',
    )
    add(
        '--bandwidth',
        type=int,
        default=0,
        metavar='MiB/s',
        help='bandwidth limit for windows and total, in place of a limited '
        'link: block_migration_bandwidth, virsh migrate --bandwidth '
        '(default: 0, no limit)',
    )
    add(
        '--repeat',
        type=int,
        default=1,
        metavar='N',
        help='runs for each row of windows; the median counts (default: 1)',
    )
    add(
        '--kind',
        choices=['raw', 'block', 'qcow2'],
        default='raw',
        help='kind of the disks for windows and total (default: raw)',
    )
    add(
        '--mode',
        choices=[str(mode) for mode in model.Mode],
        default=str(model.Mode.SEEDED),
        help='mode of the migrations for windows and reads (default: seeded)',
    )
    add(
        '--option',
        type=_assignment,
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='set an option of the engine; may be given more than once',
    )
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition('=')
    if not sign:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=VALUE')
    return name, value


if __name__ == '__main__':
    sys.exit(main())
