# SPDX-License-Identifier: Apache-2.0
"""The limits of one example: its errors, its memory and its time."""

import collections
import contextlib
import inspect
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

import psutil

from nova_blockcopy import exception

#: Bytes of memory that an example may take, beyond those of the process.
MEMORY = 256 * 1024 * 1024
#: Seconds of CPU time. A busy machine does not make an example slower.
CPU = 1.0
#: Seconds until an example that waits counts as hanging.
WAIT = 60.0
#: Frames, which are left of Python's 1000 in a busy nova-compute.
STACK = 800
#: Characters of a message.
LONGEST = 6000

#: How often each surface was tried.
examples: collections.Counter[str] = collections.Counter()


class _OverLimit(BaseException):
    """Not caught by code that catches each ``Exception``."""


def _over(number: int, _frame: Any) -> None:
    what = {
        signal.SIGPROF: f'takes more than {CPU} s of CPU time',
        signal.SIGALRM: f'hangs for {WAIT} s',
    }
    raise _OverLimit(what[signal.Signals(number)])


@contextlib.contextmanager
def example(surface: str, *allowed: type[Exception]) -> Iterator[None]:
    """Check one example, which may raise only an error of the engine.

    :param allowed: further errors that the docstring of a function names
    """
    examples[surface] += 1
    try:
        with _clock(), _memory(), _stack():
            yield
    except _OverLimit as e:
        raise AssertionError(f'it {e}') from e
    except MemoryError as e:
        raise AssertionError(f'it takes more than {MEMORY} bytes') from e
    except allowed as e:
        check_message(str(e))
    except exception.BlockCopyError as e:
        check_message(str(e))


def check_message(message: str) -> None:
    """Pass if a message is for a human."""
    for wrong in ('Traceback (most', 'Error(', ' object at 0x'):
        if wrong in message:
            raise AssertionError(f'{wrong!r} in {message!r}')
    if not 0 < len(message) <= LONGEST:
        raise AssertionError(f'a message has {len(message)} characters')
    if len(message.splitlines()) > 1:
        raise AssertionError(f'{message!r} is not one line')


@contextlib.contextmanager
def _clock() -> Iterator[None]:
    before = {
        number: signal.signal(number, _over)
        for number in (signal.SIGPROF, signal.SIGALRM)
    }
    # a test case may have a limit of its own
    _left, usual = signal.getitimer(signal.ITIMER_REAL)
    # Python drops an error in a callback, so it comes again
    signal.setitimer(signal.ITIMER_PROF, CPU, CPU / 10)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, usual)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stack() -> Iterator[None]:
    """Have as little stack as usual; Hypothesis adds much to that."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + STACK)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Limit the memory that this process can write to."""
    usual = resource.getrlimit(resource.RLIMIT_DATA)
    used = psutil.Process().memory_info().data
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, usual)
