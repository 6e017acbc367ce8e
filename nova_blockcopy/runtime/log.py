# SPDX-License-Identifier: Apache-2.0
"""The loggers of the engine. Each line names the guest that it is about.

A caller names the guest for a block of code with :func:`about`. Each line
from that block has the guest as oslo.log's ``instance``, so Nova's formatter
prints ``[instance: UUID]``. :func:`carried` takes the guest and the request
id of Nova along into another thread.
"""

import contextlib
import contextvars
import logging
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import MutableMapping
from typing import Any
from typing import ParamSpec
from typing import TypeVar

from oslo_context import context
from oslo_log import log

P = ParamSpec('P')
T = TypeVar('T')

_guest: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    'guest', default=None
)
_attempts: contextvars.ContextVar['Attempts | None'] = contextvars.ContextVar(
    'attempts', default=None
)


class GuestAdapter(log.KeywordArgumentAdapter):
    """A logger of oslo.log that adds the guest to each line.

    A line that has an ``instance`` of its own keeps that.
    """

    def log(self, level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        attempts = _attempts.get()
        if attempts is not None:
            level = attempts.level(level, str(msg) % args if args else msg)
        if kwargs.get('exc_info'):
            super().log(level, msg, *args, **kwargs)
            return
        # oslo.log adds the error that is being handled to each warning, also
        # to one that quotes the error. It leaves out an error of this class
        # (_get_error_summary, oslo_log/formatters.py).
        try:
            raise ValueError
        except ValueError:
            super().log(level, msg, *args, **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        guest = _guest.get()
        if guest is not None and kwargs.get('instance') is None:
            kwargs['instance'] = {'uuid': guest}
        msg, kwargs = super().process(msg, kwargs)
        # the line comes from the caller of log(), not from log() itself
        kwargs['stacklevel'] = 2
        return msg, kwargs


def getLogger(name: str) -> GuestAdapter:
    """Return the logger of a module, in place of that of oslo.log."""
    plain = log.getLogger(name)
    return GuestAdapter(plain.logger, plain.extra)


@contextlib.contextmanager
def about(guest: str | None) -> Iterator[None]:
    """Have all lines of a block name a guest.

    :param guest: UUID; None keeps the guest that is named already
    """
    token = _guest.set(guest or _guest.get())
    try:
        yield
    finally:
        _guest.reset(token)


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """Return a function for another thread, with the guest of this one.

    The request id of Nova goes along, too. Several threads may call the
    function at the same time.
    """
    values = contextvars.copy_context()
    request = context.get_current()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if request is not None:
            request.update_store()
        # a context can be entered by one thread at a time only
        return values.copy().run(work, *args, **kwargs)

    return run


class Attempts:
    """The lines of repeated attempts to do one thing.

    A line that the last attempt has logged, too, gets the level DEBUG. So the
    log has each failure when it changes, and not again and again.
    """

    def __init__(self) -> None:
        self._last: set[str] = set()
        self._now: set[str] = set()

    @contextlib.contextmanager
    def another(self) -> Iterator[None]:
        """Have the lines of a block count as those of another attempt."""
        self._last, self._now = self._now, set()
        token = _attempts.set(self)
        try:
            yield
        finally:
            _attempts.reset(token)

    def level(self, level: int, text: str) -> int:
        """Return the level that a line gets in this attempt."""
        self._now.add(text)
        return logging.DEBUG if text in self._last else level
