# SPDX-License-Identifier: Apache-2.0
"""The processes that serve exports: how they are found, proved and ended.

The code runs on the source.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import psutil

from nova_blockcopy.host import confinement
from nova_blockcopy.runtime import privsep
from nova_blockcopy.runtime import process as processes
from nova_blockcopy.runtime import waiting

#: The bits of all capabilities that a server, or its launcher, can have.
_MOST = sum(
    1 << number
    for number in (*confinement.LAUNCH.values(), *confinement.PASSED.values())
)


@privsep.entrypoint
def find(name: str) -> int | None:
    """Return the process id of the server of an export; None if none runs."""
    return next((process.pid for process in _processes(name)), None)


@privsep.entrypoint
def end(names: Sequence[str], number: int, timeout: int) -> bool:
    """Send a signal to servers and tell whether all have ended.

    :param names: the names of the exports
    :param timeout: seconds to wait for the end
    """
    servers = [process for name in names for process in _processes(name)]
    for process in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return waiting.until(lambda: not any(map(_runs, servers)), timeout=timeout)


def seen(name: str) -> bool:
    """Tell whether some process looks like the server of an export.

    Needs no rights, so it proves nothing: a command only shows the answer.
    The command lines of other users' processes can be read, unless /proc is
    mounted with ``hidepid``.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _exports(process.cmdline(), name):
                return True
    return False


def _processes(name: str) -> Iterator[psutil.Process]:
    """Find servers by the name of their export, as a pid can be reused.

    A process that is about to become a server counts, too. A process that a
    user has started without the engine does not.

    psutil.process_iter() keeps its objects. If the pid of one was reused, the
    object is still that of the process that has ended: it tells the new name
    and command, but takes no signal, and counts as not running.
    """
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if _exports(process.cmdline(), name) and _is_own(pid):
                yield process


def _exports(argv: Sequence[str], name: str) -> bool:
    return ('--export-name', name) in itertools.pairwise(argv)


def _is_own(pid: int) -> bool:
    """Tell whether the engine has started a process.

    The name of an export and the command are no secrets, so anybody can start
    a process that looks like a server.
    """
    status = processes.status(pid)
    program = os.path.basename(os.readlink(f'/proc/{pid}/exe'))
    return _namespace(pid) == _namespace(os.getpid()) and (
        is_confined(status) or is_plain(status, program)
    )


def _namespace(pid: int) -> tuple[int, int]:
    found = os.stat(f'/proc/{pid}/ns/user')
    return found.st_dev, found.st_ino


def is_confined(status: Mapping[str, str]) -> bool:
    """Tell whether root has confined a process as servers are. Pure.

    Nobody else can take capabilities from the bounding set (PR_CAPBSET_DROP in
    prctl(2)), except in a user namespace.

    :param status: the fields of ``/proc/PID/status``
    """
    bounding = int(status['CapBnd'], 16)
    return status['NoNewPrivs'] == '1' and not bounding & ~_MOST


def is_plain(status: Mapping[str, str], program: str) -> bool:
    """Tell whether a process is a server that is not confined.

    Earlier versions have started those. Programs such as ``sudo`` run as root
    with the arguments of anybody, but they are not ``qemu-nbd``.

    :param program: the name of the executable
    """
    users = {int(uid) for uid in status['Uid'].split()}
    return users == {os.geteuid()} and program.startswith('qemu-nbd')


def _runs(process: psutil.Process) -> bool:
    """Tell whether a process has files open; a zombie has closed them."""
    try:
        return bool(
            process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False
