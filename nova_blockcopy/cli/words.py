# SPDX-License-Identifier: Apache-2.0
"""Figures as people read them, and as programs do. Pure."""

import math
from typing import Any

from cliff import columns

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')
#: For a figure that is not known.
UNKNOWN = '-'


def size(count: float) -> str:
    """Bytes with a unit, in at most 10 characters."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    digits = 0 if not unit else 2 if count < 10 else 1
    return f'{count:.{digits}f} {_UNITS[unit]}'


def speed(bytes_per_s: float) -> str:
    """A rate with a unit."""
    return f'{size(bytes_per_s)}/s'


def limit(bytes_per_s: int) -> str:
    """A bandwidth limit; 0 is none."""
    return speed(bytes_per_s) if bytes_per_s else 'none'


def span(seconds: float | None) -> str:
    """A time, in at most 7 characters: ``5s``, ``2m05s`` or ``3h02m``."""
    if seconds is None:
        return UNKNOWN
    whole = math.ceil(seconds)
    if whole < 60:
        return f'{whole}s'
    if whole < 3600:
        return f'{whole // 60}m{whole % 60:02d}s'
    return f'{whole // 3600}h{whole % 3600 // 60:02d}m'


def percent(done: int, total: int) -> str:
    """How much is done; 100% only if nothing is left."""
    share = _share(done, total)
    return UNKNOWN if share is None else f'{share}%'


def _share(done: int, total: int) -> int | None:
    return done * 100 // total if total else None


class Size(columns.FormattableColumn[int]):
    """Bytes: with a unit for people, as a number for programs."""

    def human_readable(self) -> str:
        return size(self._value)


class Speed(columns.FormattableColumn[float | None]):
    """Bytes/s; None if they are not known. A whole number for programs."""

    def human_readable(self) -> str:
        return UNKNOWN if self._value is None else speed(self._value)

    def machine_readable(self) -> int | None:
        return None if self._value is None else round(self._value)


class Percent(columns.FormattableColumn[Any]):
    """Bytes that are done, and all; a number from 0 to 100 for programs."""

    def human_readable(self) -> str:
        return percent(*self._value)

    def machine_readable(self) -> int | None:
        return _share(*self._value)


class Text(columns.FormattableColumn[str]):
    """A text that may be missing."""

    def human_readable(self) -> str:
        return self._value or UNKNOWN


class Limit(columns.FormattableColumn[int]):
    """Bytes/s, of which 0 is no limit."""

    def human_readable(self) -> str:
        return limit(self._value)


class Span(columns.FormattableColumn[float | None]):
    """Seconds; None if they are not known."""

    def human_readable(self) -> str:
        return span(self._value)

    def machine_readable(self) -> float | None:
        return None if self._value is None else round(self._value, 1)


class Lines(columns.FormattableColumn[list[Any]]):
    """Several values, each on a line of its own for people."""

    def human_readable(self) -> str:
        return '\n'.join(map(line, self._value)) or UNKNOWN


def line(value: Any) -> str:
    """One of several values in one line."""
    if isinstance(value, dict):
        return ', '.join(
            f'{name.replace("_", " ")} {each}' for name, each in value.items()
        )
    return str(value)
