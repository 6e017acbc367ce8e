# SPDX-License-Identifier: Apache-2.0
"""The one way to wait here: for a condition, with a deadline, cancellable."""

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
    """Ask until it is true, the time has passed, or it is cancelled.

    :param timeout: seconds
    :param interval: seconds between two questions
    :returns: the last answer
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
    """Calls what it is given, and again after an error of this kind.

    :param attempts: how often at most; the last error is raised
    :param pause: seconds between them
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(kind),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_fixed(pause),
        reraise=True,
    )


def pauses(longest: float) -> Iterator[float]:
    """Seconds between looks at what may be done soon or take for hours.

    They are short at first, and grow by a quarter until they are the longest:
    what ends is not noticed much later than it took.
    """
    pause = min(_FIRST_PAUSE, longest)
    while True:
        yield pause
        pause = min(1.25 * pause, longest)
