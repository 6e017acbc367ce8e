# SPDX-License-Identifier: Apache-2.0
"""The ways to wait: with a time limit, for a retry, or between two looks."""

import threading
from collections.abc import Callable
from collections.abc import Iterator

import tenacity

_FIRST_PAUSE = 0.05


def until(
    condition: Callable[[], bool],
    *,
    timeout: float,
    interval: float = 0.1,
    cancelled: threading.Event | None = None,
) -> bool:
    """Wait until a condition is true, the time is over, or on cancellation.

    The condition is evaluated at least once.

    :param timeout: seconds
    :param interval: seconds between two evaluations
    :param cancelled: ends the wait when set
    :returns: the last value of the condition
    """
    stop: tenacity.stop.stop_base = tenacity.stop_after_delay(timeout)
    event = cancelled or threading.Event()
    return bool(
        tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda answer: not answer),
            wait=tenacity.wait_fixed(interval),
            stop=stop | tenacity.stop_when_event_set(event),
            sleep=tenacity.sleep_using_event(event),
            retry_error_callback=lambda state: (
                state.outcome.result() if state.outcome else False
            ),
        )(condition)
    )


def retrying(
    kind: type[Exception], attempts: int, pause: float
) -> tenacity.Retrying:
    """Make a callable that repeats a call after an error of a class.

    Pass the function and its arguments to the callable. The callable raises
    the error of the last attempt.

    :param attempts: calls at most
    :param pause: seconds between two calls
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(kind),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_fixed(pause),
        reraise=True,
    )


def pauses(longest: float) -> Iterator[float]:
    """Yield growing pauses for work that takes from a moment to hours.

    The first pause is 0.05 seconds. Each pause is longer by a quarter than
    the one before, up to the longest. So the end of the work is noticed soon,
    compared with the time that the work took.

    :param longest: seconds
    """
    pause = min(_FIRST_PAUSE, longest)
    while True:
        yield pause
        pause = min(1.25 * pause, longest)
