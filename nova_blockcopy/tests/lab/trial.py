# SPDX-License-Identifier: Apache-2.0
"""One migration of a scene, with its times and a check of all records."""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.tests.lab import disks
from nova_blockcopy.tests.lab import figures
from nova_blockcopy.tests.lab import records
from nova_blockcopy.tests.lab import scene

Listener = Callable[[progress.Progress], None]

#: Records of each disk that the guest writes before and after its migration.
_SETTLED = 100
_TICK = 0.2
_MOST_SECONDS = 24 * 3600


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The times of a migration in seconds, its bytes, and its checks.

    ``switchover_s`` and ``copy_s`` are None for libvirt's own migration,
    which does not separate the two. ``began`` has the seconds from the
    beginning until each state was first seen. ``changed`` names the disks
    that differ outside of the records.
    """

    total_s: float
    began: Mapping[states.State, float]
    switchover_s: float | None
    copy_s: float | None
    longest_gap_s: float
    copied_bytes: int
    verdicts: tuple[records.Verdict, ...]
    changed: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.changed and all(v.intact for v in self.verdicts)


class _Watch:
    """Notes when each state began, and the bytes that were copied."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.states: dict[states.State, float] = {}
        self.copied_bytes = 0
        self.began = time.monotonic()

    def __call__(self, now: progress.Progress) -> None:
        self.states.setdefault(now.state, time.monotonic() - self.began)
        self.copied_bytes = max(self.copied_bytes, now.processed_bytes)
        self._listener(now)


def by_engine(
    made: scene.Scene,
    listener: Listener = lambda _now: None,
    *,
    damage: bool = False,
) -> Outcome:
    """Migrate the guest of a scene by the engine.

    :param damage: damage two records afterwards, to test the check
    """
    watch = _Watch(listener)
    with _accounted(made, watch, damage) as outcomes:
        made.run(made.migration(watch))
    return outcomes[0]


def by_libvirt(
    made: scene.Scene,
    listener: Listener = lambda _now: None,
    *,
    bandwidth: int = 0,
    damage: bool = False,
) -> Outcome:
    """Migrate the guest by ``virsh migrate --copy-storage-all``.

    :param bandwidth: MiB/s; libvirt applies this limit to the memory and to
        each disk
    :param damage: damage two records afterwards, to test the check
    """
    watch = _Watch(listener)
    with _accounted(made, watch, damage) as outcomes:
        with _definition(made) as path:
            running = made.home.submit(
                made.home.run,
                *_virsh_migrate(made, path, bandwidth),
                timeout=_MOST_SECONDS,
            )
            meter = progress.Meter(time.monotonic)
            now = meter.read(states.State.SWITCHING, ())
            while not running.done():
                now = meter.read(now.state, _native_disks(made))
                watch(now)
                time.sleep(_TICK)
        running.result()
        watch(meter.read(now.state, _all_copied(now)))
    return outcomes[0]


@contextlib.contextmanager
def _accounted(
    made: scene.Scene, watch: _Watch, damage: bool
) -> Iterator[list[Outcome]]:
    """Measure the migration inside a ``with`` block, then check the disks."""
    outcomes: list[Outcome] = []
    _settle(made)
    watch.began = time.monotonic()
    yield outcomes
    total_s = time.monotonic() - watch.began
    _settle(made)
    gap = made.guest.log.longest_gap(watch.began)
    made.guest.pause(made.away)
    if damage:
        _damage(made, made.guest.targets[0])
    outcomes.append(
        Outcome(
            total_s=total_s,
            began=watch.states,
            switchover_s=figures.phases(watch.states).get(
                states.State.SWITCHING
            ),
            copy_s=figures.window(watch.states),
            longest_gap_s=gap,
            copied_bytes=watch.copied_bytes,
            verdicts=tuple(made.verdicts(made.away)),
            changed=tuple(made.changed(made.away)),
        )
    )


def _settle(made: scene.Scene) -> None:
    for target in made.guest.targets:
        made.guest.log.wait_for_more(target, _SETTLED)


def _damage(made: scene.Scene, target: str) -> None:
    """Overwrite one record with zeroes and one with other data."""
    region = made.guest.region
    with disks.writable(made.bases[target]) as f:
        for number, content in ((0, bytes(records.RECORD)), (1, b'?' * 16)):
            f.seek(region.offset + region.position(number))
            f.write(content)


@contextlib.contextmanager
def _definition(made: scene.Scene) -> Iterator[str]:
    """Yield the path of a file with the definition for the other host."""
    printed = made.home.run(
        *('virsh', 'dumpxml', made.guest.uuid),
        *('--migratable', '--security-info'),
    ).stdout
    moves = [
        model.Move(
            disk=target,
            source=source.image,
            base=made.bases[target].image,
            size_bytes=source.size_bytes,
        )
        for target, source in made.sources.items()
    ]
    with tempfile.NamedTemporaryFile('w', suffix='.xml') as f:
        f.write(domxml.point_at_bases(printed, moves))
        f.flush()
        yield f.name


def _virsh_migrate(
    made: scene.Scene, definition: str, bandwidth: int
) -> list[str]:
    there = scene.endpoint(made.away)
    limit = ['--bandwidth', str(bandwidth)] if bandwidth else []
    return [
        *('virsh', 'migrate', '--live', '--p2p'),
        *('--persistent', '--undefinesource', '--copy-storage-all'),
        *('--migrate-disks', ','.join(made.guest.targets)),
        *('--xml', definition, '--persistent-xml', definition),
        *('--migrateuri', there.migrate_uri, *limit),
        *(made.guest.uuid, there.uri),
    ]


def _native_disks(made: scene.Scene) -> list[model.DiskProgress]:
    """The figures of libvirt's own copies; none before and after them."""
    connection = made.home.connect()
    try:
        guest = connection.lookupByUUIDString(made.guest.uuid)
        return [
            model.DiskProgress(
                disk=target,
                processed_bytes=figures.get('cur', 0),
                total_bytes=figures.get('end', 0),
            )
            for target in made.guest.targets
            for figures in (guest.blockJobInfo(target),)
        ]
    except libvirt.libvirtError:  # the guest has left this host
        return []
    finally:
        connection.close()


def _all_copied(last: progress.Progress) -> list[model.DiskProgress]:
    return [
        dataclasses.replace(disk, processed_bytes=disk.total_bytes)
        for disk in last.disks
    ]
