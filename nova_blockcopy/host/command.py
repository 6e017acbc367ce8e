# SPDX-License-Identifier: Apache-2.0
"""Running programs on this host, confined and with a time limit.

The locale of all programs is ``C``.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from collections.abc import Sequence

from oslo_concurrency import processutils

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

    sentences: tuple[str, ...] = ('reason',)
    msg_fmt = '"%(command)s" failed: %(reason)s'


class CommandTimeout(CommandFailed):
    sentences = ()
    msg_fmt = '"%(command)s" did not end within %(timeout)s s and was killed.'


def run(*argv: str, confined: confinement.Confinement, timeout: int) -> str:
    """Run a command on this host and return the standard output.

    A command whose exit status is unknown has failed.

    ``processutils.execute(timeout=)`` leaves the child running when the time
    has passed. This function kills the child.

    :param confined: the rights of the program
    :param timeout: seconds
    :raises CommandFailed: the command failed; the message has the standard
        error
    :raises CommandTimeout: the time has passed; the command was killed
    """
    _check_installed('setpriv', argv[0])
    started: list[subprocess.Popen[bytes]] = []

    def begun(child: 'subprocess.Popen[bytes]') -> None:
        children.prove_exit(child)
        started.append(child)

    with _translated(argv[0], timeout, started):
        out, _err = processutils.execute(
            *confinement.prefix(confined),
            *argv,
            timeout=timeout,
            on_execute=begun,
            env_variables=_environment(),
        )
    return str(out)


def work_on(
    file: int,
    *argv: str,
    confined: confinement.Confinement,
    timeout: int,
) -> None:
    """Run a command on this host with an open file as its standard input.

    ``processutils`` passes only text to a program.

    :param file: a descriptor, which the program also finds as
        ``/proc/self/fd/0``
    :param confined: the rights of the program
    :param timeout: seconds
    :raises CommandFailed: as for :func:`run`
    :raises CommandTimeout: the time has passed; the command was killed
    """
    _check_installed('setpriv', argv[0])
    _finish(
        [*confinement.prefix(confined), *argv],
        *(file, argv[0], timeout),
    )


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
    _finish(
        [
            *confinement.prefix(confinement.launcher(confined)),
            *('/bin/sh', '-c', _ACTIVATE, 'sh'),
            *(*prefix, *confinement.prefix(confined), *argv),
        ],
        *(listener.fileno(), argv[0], timeout),
    )


def _check_installed(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise CommandFailed(
                command=program,
                reason='it is not on the PATH; install the program.',
            )


def _environment() -> dict[str, str]:
    return {**os.environ, 'LC_ALL': 'C'}


def _finish(
    argv: Sequence[str], stdin: int, program: str, timeout: int
) -> None:
    """Start a child, and wait until it has ended or is in the background.

    :raises CommandFailed: as for :func:`run`
    """
    with (
        subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
        ) as child,
        _translated(program, timeout, [child]),
    ):
        children.prove_exit(child)
        _out, err = child.communicate(timeout=timeout)
        if child.returncode:
            raise processutils.ProcessExecutionError(
                stderr=err.decode(errors='replace'),
                exit_code=child.returncode,
            )


@contextlib.contextmanager
def _translated(
    program: str,
    timeout: int,
    started: Sequence['subprocess.Popen[bytes]'],
) -> Iterator[None]:
    """Translate the errors of a command, and end its child after its time.

    :raises CommandFailed: as for :func:`run`
    """
    try:
        yield
    except processutils.ProcessExecutionError as e:
        said = (e.stderr or e.stdout or '').strip()
        raise CommandFailed(
            command=program, reason=said or f'exit code {e.exit_code}'
        ) from e
    except exception.StatusUnknown as e:
        raise CommandFailed(command=program, reason=e) from e
    except Exception as e:
        if not _timed_out(e):
            raise
        for child in started:
            _end(child)
        raise CommandTimeout(command=program, timeout=timeout) from e


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
