# SPDX-License-Identifier: Apache-2.0
"""The exit status of this process's children, which is known or is an error.

The kernel keeps no status of a child if this process ignores SIGCHLD, and
gives the status to other code of this process that waits for every child.
``subprocess`` then reports status 0, even for a child that was killed
(``Popen._try_wait`` and ``Popen._internal_poll`` in CPython's subprocess.py).
"""

import os
import signal
import subprocess
import time

from nova_blockcopy import exception
from nova_blockcopy.runtime import process

#: Look at the status, and leave the child for ``Popen`` to wait for.
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
#: Not 0, which means success, and not the number of a signal.
_UNKNOWN = 255
#: Seconds between two looks; the pause doubles, as in ``Popen.wait``.
_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.05


def check() -> None:
    """Pass if the kernel keeps the status of this process's children.

    :raises ChildrenIgnored: this process ignores SIGCHLD
    """
    fields = process.status('self')
    if int(fields['SigIgn'], 16) & 1 << signal.SIGCHLD - 1:
        raise exception.ChildrenIgnored(
            program=fields['Name'], pid=os.getpid()
        )


def prove_exit(child: 'subprocess.Popen[bytes]') -> None:
    """Have a child's ``wait`` read the status before ``Popen`` does.

    ``wait``, and ``communicate`` with it, then raise ``StatusUnknown`` if
    nobody can tell how the child ended.

    :param child: a child that nobody has waited for yet
    """
    take = child.wait

    def wait(timeout: float | None = None) -> int:
        if child.returncode is None:
            status = _status(child, timeout)
            take()
            child.returncode = status
        return child.returncode

    child.wait = wait  # type: ignore[method-assign]


def _status(child: 'subprocess.Popen[bytes]', timeout: float | None) -> int:
    """Wait for the end of a child.

    :returns: the exit code, or the negative number of a signal
    :raises StatusUnknown: the child has ended, and its status is lost
    :raises TimeoutExpired: the child runs on
    """
    begun, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        try:
            found = os.waitid(os.P_PID, child.pid, _LOOK)
        except ChildProcessError as e:
            child.returncode = _UNKNOWN  # a second wait() returns this
            raise exception.StatusUnknown(pid=child.pid) from e
        if found is not None:
            ended = found.si_code == os.CLD_EXITED
            return found.si_status if ended else -found.si_status
        if timeout is not None and time.monotonic() - begun >= timeout:
            raise subprocess.TimeoutExpired(child.args, timeout)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
