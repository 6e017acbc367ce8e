# SPDX-License-Identifier: Apache-2.0
"""Running programs on this host, in a fixed locale and with a time limit."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Sequence

from oslo_concurrency import processutils

from nova_blockcopy import exception
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


def run(*argv: str, timeout: int) -> str:
    """Run a command on this host and return the standard output.

    A command whose exit status is unknown has failed.

    ``processutils.execute(timeout=)`` leaves the child running when the time
    has passed. This function kills the child.

    :param timeout: seconds
    :raises CommandFailed: the command failed; the message has the standard
        error
    :raises CommandTimeout: the time has passed; the command was killed
    """
    started: list[subprocess.Popen[bytes]] = []

    def begun(child: 'subprocess.Popen[bytes]') -> None:
        children.prove_exit(child)
        started.append(child)

    try:
        out, _err = processutils.execute(
            *argv,
            timeout=timeout,
            on_execute=begun,
            env_variables={**os.environ, 'LC_ALL': 'C'},
        )
    except processutils.ProcessExecutionError as e:
        reason = (e.stderr or e.stdout or f'exit code {e.exit_code}').strip()
        raise CommandFailed(command=argv[0], reason=reason) from e
    except OSError as e:
        raise CommandFailed(
            command=argv[0], reason=f'{e.strerror}; install the program.'
        ) from e
    except exception.StatusUnknown as e:
        raise CommandFailed(command=argv[0], reason=e) from e
    except Exception as e:
        if not _timed_out(e):
            raise
        for child in started:
            _end(child)
        raise CommandTimeout(command=argv[0], timeout=timeout) from e
    return str(out)


def serve(
    listener: socket.socket,
    *argv: str,
    prefix: Sequence[str] = (),
    timeout: int,
) -> None:
    """Start a server on this host with a socket that listens already.

    The server must put itself into the background when ready.

    :param prefix: a command that becomes the server, such as ``env``
    :param timeout: seconds until the server is in the background
    :raises CommandFailed: the server failed; the message has the standard
        error
    :raises CommandTimeout: the time has passed; the server was killed
    """
    with subprocess.Popen(
        ['/bin/sh', '-c', _ACTIVATE, 'sh', *prefix, *argv],
        stdin=listener.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, 'LC_ALL': 'C'},
    ) as child:
        children.prove_exit(child)
        try:
            _out, err = child.communicate(timeout=timeout)
        except exception.StatusUnknown as e:
            raise CommandFailed(command=argv[0], reason=e) from e
        except Exception as e:
            if not _timed_out(e):
                raise
            _end(child)
            raise CommandTimeout(command=argv[0], timeout=timeout) from e
    if child.returncode:
        reason = err.decode(errors='replace').strip()
        raise CommandFailed(command=argv[0], reason=reason)


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
