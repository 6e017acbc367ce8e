# SPDX-License-Identifier: Apache-2.0
"""Commands of this host: a fixed locale, and a time limit that kills."""

import os
import socket
import subprocess

from oslo_concurrency import processutils

from nova_blockcopy import exception

#: Hands its standard input on as systemd hands a socket to a service
#: (sd_listen_fds(3)): descriptor 3, and the process id it is meant for.
_ACTIVATE = (
    'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$; '
    'export LISTEN_FDS LISTEN_PID; exec "$@"'
)


class CommandFailed(exception.BlockCopyError):
    """A command ended with an error, or could not be run at all."""

    msg_fmt = '"%(command)s" failed: %(reason)s'


class CommandTimeout(CommandFailed):
    msg_fmt = '"%(command)s" did not end within %(timeout)s s; it was killed.'


def run(*argv: str, timeout: int) -> str:
    """Run a command on this host and return what it printed.

    ``processutils.execute(timeout=)`` leaves the child running when the time
    has passed, so it is killed here.

    :param timeout: seconds
    :raises CommandFailed: with what the command said on standard error
    :raises CommandTimeout: the time has passed; the command was killed
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        out, _err = processutils.execute(
            *argv,
            timeout=timeout,
            on_execute=children.append,
            env_variables={**os.environ, 'LC_ALL': 'C'},
        )
    except processutils.ProcessExecutionError as e:
        reason = (e.stderr or e.stdout or f'exit code {e.exit_code}').strip()
        raise CommandFailed(command=argv[0], reason=reason) from e
    except OSError as e:
        raise CommandFailed(
            command=argv[0], reason=f'{e.strerror}; install it.'
        ) from e
    except Exception as e:
        if not _timed_out(e):
            raise
        for child in children:
            _end(child)
        raise CommandTimeout(command=argv[0], timeout=timeout) from e
    return str(out)


def serve(listener: socket.socket, *argv: str, timeout: int) -> None:
    """Start a server of this host on a socket that listens already.

    The server must put itself into the background when it is ready.

    :param timeout: seconds
    :raises CommandFailed: with what the command said on standard error
    :raises CommandTimeout: the time has passed; the command was killed
    """
    with subprocess.Popen(
        ['/bin/sh', '-c', _ACTIVATE, 'sh', *argv],
        stdin=listener.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, 'LC_ALL': 'C'},
    ) as child:
        try:
            _out, err = child.communicate(timeout=timeout)
        except Exception as e:
            if not _timed_out(e):
                raise
            _end(child)
            raise CommandTimeout(command=argv[0], timeout=timeout) from e
    if child.returncode:
        reason = err.decode(errors='replace').strip()
        raise CommandFailed(command=argv[0], reason=reason)


def _timed_out(error: Exception) -> bool:
    """Whether a child has not ended in time.

    eventlet's Popen raises the error of another copy of ``subprocess``, which
    is not a subclass of this one's.
    """
    return type(error).__name__ == subprocess.TimeoutExpired.__name__


def _end(child: 'subprocess.Popen[bytes]') -> None:
    """Kill a child, and wait for no more than that.

    What it has started may hold its pipes open, so these are not read.
    """
    child.kill()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    child.wait()
