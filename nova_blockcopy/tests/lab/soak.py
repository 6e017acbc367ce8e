# SPDX-License-Identifier: Apache-2.0
"""tools/lab soak: migrate a guest back and forth many times.

After each migration, the soak checks all records of the guest. Rare faults
show only after many migrations.
"""

import argparse
import contextlib
import itertools
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import libvirt
import psutil

from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import inspection
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import records
from nova_blockcopy.tests.lab import scene
from nova_blockcopy.tests.lab import tally

Listener = Callable[[progress.Progress], None]

_KINDS = ('block', 'raw', 'qcow2', 'layered')
_BOTH = 'both'
#: Seconds between two records of a disk, and between two operations of chaos.
_INTERVAL = 0.01
_CHAOS = 0.01
#: New records of each disk to wait for after a migration.
_RECORDS = 3
#: The share of a region above which a new guest takes over.
_FULL = 0.8
#: Seconds for which libvirtd is stopped, and the longest delay before that.
_STANDSTILL = (1.0, 12.0)
_LAG = 0.5


class Soak:
    """Migrates one guest after the other back and forth in one lab.

    :param kinds: kinds of the disks of each guest
    :param size: bytes of each disk
    :param region: bytes of each disk for records
    :param chaos: each guest writes at random places, and each migration is
        inspected
    :param discards: some operations of the chaos are discards
    :param disturbed: stop the destination's libvirtd for a while
    :param seed: seed of the random times
    """

    def __init__(
        self,
        it: lab.Lab,
        kinds: Sequence[str],
        *,
        size: int,
        region: int,
        chaos: bool,
        discards: bool,
        disturbed: bool,
        seed: int,
    ) -> None:
        self._lab = it
        self._kinds = tuple(kinds)
        self._size = size
        self._region = region
        self._chaos = chaos
        self._discards = discards
        self._disturbed = disturbed
        self._random = random.Random(seed)
        self._made: scene.Scene | None = None

    def move(self, driver: str, mode: str) -> tuple[str, tally.Leg]:
        """Run one migration.

        :returns: the direction, such as ``a to b``, and the result
        """
        made = self._made or self._set()
        way = f'{made.home.name} to {made.away.name}'
        leg = self._moved(made, driver, mode)
        if leg.lost or leg.ended == tally.STUCK or self._is_full(made):
            self._clear(made)
        elif leg.ended == tally.DONE:
            self._made = made.reversed()
            self._made.empty_bases()
        return way, leg

    def _set(self) -> scene.Scene:
        self._made = scene.Scene.set(
            self._lab,
            self._kinds,
            size=self._size,
            data=self._size // 8,
            region=self._region,
            interval=_INTERVAL,
            chaos=_CHAOS if self._chaos else 0,
            discards=self._discards,
        )
        return self._made

    def _clear(self, made: scene.Scene) -> None:
        made.guest.log.stop()
        self._lab.empty()
        self._made = None

    @staticmethod
    def _is_full(made: scene.Scene) -> bool:
        guest = made.guest
        most = max(guest.log.written(target) for target in guest.targets)
        return most > _FULL * guest.region.slots

    def _moved(self, made: scene.Scene, driver: str, mode: str) -> tally.Leg:
        trouble: list[str] = []
        ended = tally.DONE
        at: host.Host | None = made.away
        with contextlib.ExitStack() as stack:
            seen = stack.enter_context(inspection.Inspection(made))
            listeners: list[Listener] = [seen] if self._chaos else []
            if self._disturbed:
                listeners.append(
                    stack.enter_context(_disturbance(made.away, self._random))
                )
            began = time.monotonic()
            try:
                made.run(
                    made.migration(_told(listeners), driver=driver, mode=mode)
                )
            except exception.MigrationStuck as e:
                trouble.append(str(e))
                ended, at = tally.STUCK, _settled(made)
            except exception.BlockCopyError as e:
                trouble.append(str(e))
                ended, at = tally.UNDONE, made.home
            seconds = time.monotonic() - began
        verdicts: list[records.Verdict] = []
        crashes = made.guest.crashes()
        silent = at is None or bool(crashes)
        try:
            if seen.failure is not None and not crashes:
                raise seen.failure
            if at is not None and not silent:
                for target in made.guest.targets:
                    made.guest.log.wait_for_more(target, _RECORDS)
                verdicts = made.interim_verdicts(at)
        except Exception as e:  # after any error, the guest counts as silent
            trouble.append(f'{type(e).__name__}: {e}')
            silent = True
            trouble.append(made.guest.condition())
        errors = [*made.guest.log.errors]
        made.guest.log.errors.clear()
        return tally.Leg(
            ended=ended,
            seconds=seconds,
            inspected=seen.done,
            differences=tuple(seen.differences),
            verdicts=tuple(verdicts),
            crashes=tuple(crashes),
            trouble=(*trouble, *errors),
            silent=silent,
        )


def _settled(made: scene.Scene) -> host.Host | None:
    """Settle a stuck migration; return the guest's host, None if unknown."""
    try:
        side = made.settle()
    except exception.BlockCopyError:
        return None
    return made.home if side is model.Role.SOURCE else made.away


def _told(listeners: Sequence[Listener]) -> Listener:
    def listen(now: progress.Progress) -> None:
        for listener in listeners:
            listener(now)

    return listen


@contextlib.contextmanager
def _disturbance(at: host.Host, chance: random.Random) -> Iterator[Listener]:
    """Yield a listener that stops a host's libvirtd during the switchover.

    At the end of the ``with`` block, libvirtd runs again.
    """
    servers = [p for p in at.processes() if p.name() == 'libvirtd']
    standstill = chance.uniform(*_STANDSTILL)
    stop = threading.Timer(
        chance.uniform(0, _LAG), _send, (servers, signal.SIGSTOP)
    )
    go_on = threading.Timer(
        stop.interval + standstill, _send, (servers, signal.SIGCONT)
    )
    begun = threading.Event()

    def listen(now: progress.Progress) -> None:
        if now.state is states.State.SWITCHING and not begun.is_set():
            begun.set()
            stop.start()
            go_on.start()

    try:
        yield listen
    finally:
        for timer in (stop, go_on):
            timer.cancel()
            if begun.is_set():
                timer.join()
        _send(servers, signal.SIGCONT)


def _send(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak.

    :returns: 0 if no data was lost, 1 if some was, 2 if the soak cannot run
    """
    options = _parser().parse_args(argv)
    # the line of each migration shows its errors, so libvirt must not print
    # them
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    logging.getLogger('nova_blockcopy').addHandler(logging.NullHandler())
    lab.sweep()
    it = lab.Lab()
    legs: list[tally.Leg] = []
    try:
        it.up()
        _run(it, options, legs)
    except host.LabError as e:
        print(e, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('Interrupted', flush=True)
    finally:
        it.down()
    print(tally.summary(legs), flush=True)
    return 1 if any(leg.lost for leg in legs) else 0


def _run(
    it: lab.Lab, options: argparse.Namespace, legs: list[tally.Leg]
) -> None:
    soak = Soak(
        it,
        options.kind or ['block', 'block'],
        size=options.size * scene.MIB,
        region=options.region * scene.MIB,
        chaos=options.chaos,
        discards=not options.no_discards,
        disturbed=options.disturb is not None,
        seed=options.seed,
    )
    turns = itertools.product(
        _each(options.mode, [str(mode) for mode in model.Mode]),
        _each(options.driver, ['libvirt', 'virsh']),
    )
    for number, (mode, driver) in enumerate(
        itertools.islice(itertools.cycle(turns), options.count), start=1
    ):
        way, leg = soak.move(driver, mode)
        legs.append(leg)
        print(f'{number:4} {way} {mode:6} {driver:7} {leg}', flush=True)


def _each(chosen: str, all_: list[str]) -> list[str]:
    return all_ if chosen == _BOTH else [chosen]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tools/lab soak',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        '--kind',
        action='append',
        choices=_KINDS,
        help='kind of a disk of the guest; give the option once for each disk '
        '(default: two disks of kind block)',
    )
    add(
        '--mode',
        choices=[*(str(mode) for mode in model.Mode), _BOTH],
        default=_BOTH,
        help='the mode; both alternates between direct and seeded (default: '
        'both)',
    )
    add(
        '--driver',
        choices=[*drivers.installed(), _BOTH],
        default=_BOTH,
        help='the copy driver; both alternates between libvirt and virsh '
        '(default: both)',
    )
    add(
        '--count',
        type=int,
        default=50,
        metavar='N',
        help='number of migrations (default: 50)',
    )
    writes = parser.add_mutually_exclusive_group()
    writes.add_argument(
        '--records',
        action='store_true',
        help='let the guest write records only (default)',
    )
    writes.add_argument(
        '--chaos',
        action='store_true',
        help='let the guest also write, zero and discard at random places; '
        'compare both sides byte for byte when all copies are ready',
    )
    add(
        '--no-discards',
        action='store_true',
        help='leave discards out of the chaos: a synchronous copy discards on '
        'both sides, and each side may ignore a part of a discard',
    )
    add(
        '--disturb',
        choices=['libvirtd'],
        help='stop libvirtd of the destination for 1 to 12 s, from the '
        'switchover on',
    )
    add(
        '--size',
        type=int,
        default=64,
        metavar='MiB',
        help='size of each disk (default: 64)',
    )
    add(
        '--region',
        type=int,
        default=8,
        metavar='MiB',
        help='space for records on each disk; a new guest takes over when it '
        'is nearly full (default: 8)',
    )
    add(
        '--seed',
        type=int,
        default=0,
        help='seed of the random times (default: 0)',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
