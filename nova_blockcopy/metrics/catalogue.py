# SPDX-License-Identifier: Apache-2.0
"""The metrics of a host: names, labels and meaning. Pure.

The names follow Prometheus's rules: base units, and ``_total`` for counters
(prometheus.io, Metric and label naming). A label is not called ``instance``,
because Prometheus gives this name to the host that it asks.
"""

import dataclasses
import enum


class Kind(enum.StrEnum):
    """A type of metrics in Prometheus."""

    COUNTER = 'counter'
    GAUGE = 'gauge'
    HISTOGRAM = 'histogram'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    ``help`` is its documentation. ``bounds`` are the upper limits of the
    buckets of a histogram.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    help: str
    bounds: tuple[float, ...] = ()


def _counter(name: str, labels: tuple[str, ...], help_: str) -> Metric:
    return Metric(
        name=f'nova_blockcopy_{name}',
        kind=Kind.COUNTER,
        labels=labels,
        help=help_,
    )


def _gauge(name: str, labels: tuple[str, ...], help_: str) -> Metric:
    return Metric(
        name=f'nova_blockcopy_{name}',
        kind=Kind.GAUGE,
        labels=labels,
        help=help_,
    )


def _histogram(
    name: str, labels: tuple[str, ...], bounds: tuple[float, ...], help_: str
) -> Metric:
    return Metric(
        name=f'nova_blockcopy_{name}',
        kind=Kind.HISTOGRAM,
        labels=labels,
        help=help_,
        bounds=bounds,
    )


#: The labels of a migration, and of one of its disks.
_ONE = ('instance_uuid', 'role')
_DISK = (*_ONE, 'disk')
#: Seconds from a small to a very large guest.
_LONG = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
#: Seconds for which a guest depends on both hosts, or stands still.
_SHORT = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0)

# -- the host: since the start of nova-compute ---------------------------

INFO = _gauge(
    'info',
    ('version', 'driver', 'mode'),
    'The version of nova-blockcopy, the copy driver and the mode of this '
    'host. The value is always 1.',
)
MIGRATIONS = _counter(
    'migrations_total', ('role', 'outcome'), 'Migrations that have ended.'
)
ROLLBACKS = _counter(
    'rollbacks_total',
    ('role', 'phase'),
    'Migrations that were being undone, by the phase that they had reached. '
    'Aborts on request count, too.',
)
RETRIES = _counter(
    'retries_total', ('role', 'act'), 'Acts that had failed and were repeated.'
)
COPIED = _counter(
    'copied_bytes_total',
    ('role',),
    'Bytes that ended migrations have copied, for all disks.',
)
PHASE_SECONDS = _counter(
    'phase_seconds_total',
    ('role', 'phase'),
    'Seconds that all migrations have spent in a phase.',
)
DURATION = _histogram(
    'migration_duration_seconds',
    ('role', 'outcome'),
    _LONG,
    'Seconds of ended migrations from the begin to the end.',
)
WINDOW = _histogram(
    'remote_window_seconds',
    ('role',),
    _SHORT,
    'Seconds for which guests depended on both hosts, in ended migrations.',
)
STOP = _histogram(
    'guest_stop_seconds',
    ('role',),
    _SHORT,
    'The longest stop of the guest in each ended migration, in seconds.',
)

# -- the journals of the host --------------------------------------------

JOURNALS = _gauge(
    'journals', ('role',), 'Migrations that have a journal on this host.'
)
UNSETTLED = _gauge(
    'unsettled',
    ('instance_uuid', 'role', 'peer', 'state'),
    'A migration that is stuck, or whose last attempt to end has failed. The '
    'value is always 1.',
)
UNREADABLE = _gauge(
    'unreadable_journals', (), 'Journals of this host that cannot be read.'
)

# -- the space of the host -----------------------------------------------

DELTA_ROOM = _gauge(
    'delta_dir_available_bytes',
    (),
    'Bytes that deltas can still take. No value before the directory is '
    'there.',
)
DELTA_MIN = _gauge(
    'delta_min_free_bytes',
    (),
    'Bytes that must be available for deltas, or guests are not seeded.',
)
KEPT = _gauge(
    'kept_bases',
    (),
    'Guests whose seeded bases this host keeps for another attempt.',
)

# -- one migration -------------------------------------------------------

MIGRATION = _gauge(
    'migration_info',
    (*_ONE, 'migration', 'name', 'peer', 'mode'),
    'A migration of this host: its id, the name of the guest, the other host '
    'and the mode. The value is always 1.',
)
START = _gauge(
    'migration_start_timestamp_seconds',
    _ONE,
    'The time at which the migration began, or went on after a restart.',
)
PHASE = _gauge(
    'migration_phase_start_timestamp_seconds',
    (*_ONE, 'phase'),
    'The time at which the present phase began. No value after the end.',
)
PHASES = _gauge(
    'migration_phase_seconds',
    (*_ONE, 'phase'),
    'Seconds of each phase that is over.',
)
WINDOW_START = _gauge(
    'migration_remote_window_start_timestamp_seconds',
    _ONE,
    'The time since which the guest depends on both hosts. No value at all '
    'other times.',
)
WINDOW_TOOK = _gauge(
    'migration_remote_window_seconds',
    _ONE,
    'Seconds for which the guest depended on both hosts. Only after the end.',
)
FORECAST = _gauge(
    'migration_forecast_remote_window_seconds',
    _ONE,
    'The last forecast of the remote window. Only on the source, in seeded '
    'mode.',
)
SILENT = _gauge(
    'migration_destination_silent_seconds',
    _ONE,
    'Seconds for which the destination has left a message unanswered, '
    'measured every 30 seconds. Only on the source.',
)
LIMIT = _gauge(
    'migration_limit_bytes_per_second',
    _ONE,
    'The bandwidth limit for all disks together. 0 is no limit.',
)
DISK_SIZE = _gauge('disk_size_bytes', _DISK, 'The size of a disk that moves.')
DISK_COPIED = _counter(
    'disk_copied_bytes_total', _DISK, 'Bytes of a disk that are copied.'
)
DISK_LEFT = _gauge(
    'disk_remaining_bytes',
    _DISK,
    'Bytes of a disk that are left to copy, as far as they are known now. No '
    'value after the end.',
)
DISK_RATE = _gauge(
    'disk_rate_bytes_per_second',
    _DISK,
    'The rate of a disk over the last five seconds. No value after the end.',
)

#: Those of the host, and those of each migration.
OF_HOST = (
    *(INFO, MIGRATIONS, ROLLBACKS, RETRIES, COPIED, PHASE_SECONDS),
    *(DURATION, WINDOW, STOP, JOURNALS, UNSETTLED, UNREADABLE),
    *(DELTA_ROOM, DELTA_MIN, KEPT),
)
OF_MIGRATION = (
    *(MIGRATION, START, PHASE, PHASES, WINDOW_START, WINDOW_TOOK, FORECAST),
    *(SILENT, LIMIT, DISK_SIZE, DISK_COPIED, DISK_LEFT, DISK_RATE),
)
ALL = (*OF_HOST, *OF_MIGRATION)
