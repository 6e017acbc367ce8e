# SPDX-License-Identifier: Apache-2.0
"""Running programs on this host, confined and with a time limit.

The locale of all programs is ``C``.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence

from nova_blockcopy import exception
from nova_blockcopy.host import confinement
from nova_blockcopy.runtime import children

#: Passes standard input to a program in the way in which systemd passes a
#: socket to a service: as descriptor 3, together with the process id of the
#: program (sd_listen_fds(3)).
_ACTIVATE = (
    'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$; '
    'export LISTEN_FDS LISTEN_PID; exec "$@"'
)


class CommandFailed(exception.BlockCopyError):
    """A command ended with an error, or could not be started."""

    msg_fmt = '"%(command)s" failed: %(reason)s'


class CommandTimeout(CommandFailed):
    msg_fmt = '"%(command)s" did not end within %(timeout)s s and was killed.'


def run(
    *argv: str,
    confined: confinement.Confinement,
    timeout: int,
    descriptors: Sequence[int] = (),
) -> str:
    """Run a command on this host and return the standard output.

    A command whose exit status is unknown has failed.

    :param confined: the rights of the program
    :param timeout: seconds
    :param descriptors: open files that the program gets, under their numbers
    :raises CommandFailed: the command failed; the message has the standard
        error
    :raises CommandTimeout: the time has passed; the command was killed
    """
    _check_installed('setpriv', argv[0])
    with subprocess.Popen(
        [*confinement.prefix(confined), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, 'LC_ALL': 'C'},
        pass_fds=descriptors,
    ) as child:
        return _finish(child, argv[0], timeout)


def serve(
    listener: socket.socket,
    *argv: str,
    confined: confinement.Confinement,
    prefix: Sequence[str] = (),
    timeout: int,
) -> None:
    """Start a server on this host with a socket that listens already.

    The server must put itself into the background when ready.

    :param confined: the rights of the server
    :param prefix: a command of root that becomes the server, such as ``env``
    :param timeout: seconds until the server is in the background
    :raises CommandFailed: the server failed; the message has the standard
        error
    :raises CommandTimeout: the time has passed; the server was killed
    """
    _check_installed('setpriv', argv[0])
    with subprocess.Popen(
        [
            *confinement.prefix(confinement.launcher(confined)),
            *('/bin/sh', '-c', _ACTIVATE, 'sh'),
            *(*prefix, *confinement.prefix(confined), *argv),
        ],
        stdin=listener.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, 'LC_ALL': 'C'},
    ) as child:
        _finish(child, argv[0], timeout)


def _check_installed(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise CommandFailed(
                command=program,
                reason='it is not on the PATH; install the program.',
            )


def _finish(
    child: 'subprocess.Popen[bytes]', program: str, timeout: int
) -> str:
    """Wait for the end of a child and return the standard output.

    :raises CommandFailed: as for :func:`run`
    """
    children.prove_exit(child)
    try:
        out, err = child.communicate(timeout=timeout)
    except exception.StatusUnknown as e:
        raise CommandFailed(command=program, reason=e) from e
    except Exception as e:
        if not _timed_out(e):
            raise
        _end(child)
        raise CommandTimeout(command=program, timeout=timeout) from e
    if child.returncode:
        said = (err or out or b'').decode(errors='replace').strip()
        raise CommandFailed(
            command=program, reason=said or f'exit code {child.returncode}'
        )
    return (out or b'').decode(errors='replace')


def _timed_out(error: Exception) -> bool:
    """Tell whether an error means that a child did not end in time.

    eventlet's Popen raises ``TimeoutExpired`` of its own copy of
    ``subprocess``. That class is no subclass of the standard one, so the
    name is compared.
    """
    return type(error).__name__ == subprocess.TimeoutExpired.__name__


def _end(child: 'subprocess.Popen[bytes]') -> None:
    """Kill a child and wait for the end of the child alone.

    The child's own children may hold the pipes open, so the pipes are closed
    and not read.
    """
    child.kill()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(exception.StatusUnknown):  # it was killed
        child.wait()
