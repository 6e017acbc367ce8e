# SPDX-License-Identifier: Apache-2.0
"""A terminal for a program, and the frames that a person would see in it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

import pyte

COLUMNS, LINES = 80, 24
#: Seconds without output after which a frame counts as complete.
_QUIET = 0.01


def frames(argv: Sequence[str], *, seconds: float) -> tuple[int, list[str]]:
    """Run a program in a terminal of 80 columns until it ends.

    :param seconds: after which the program is killed
    :returns: its exit code, and each content of the terminal that stood for
        a while
    :raises TimeoutExpired: the program was killed
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, struct.pack('HHHH', LINES, COLUMNS, 0, 0)
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ('COLUMNS', 'LINES')
    }
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**environment, 'TERM': 'xterm-256color'},
    ) as child:
        os.close(theirs)
        try:
            seen = _read(ours, time.monotonic() + seconds)
            return child.wait(max(1.0, seconds)), seen
        finally:
            child.kill()
            os.close(ours)


def _read(terminal: int, deadline: float) -> list[str]:
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    seen: list[str] = []
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], _QUIET)[0]:
            now = '\n'.join(screen.display)
            if not seen or seen[-1] != now:
                seen.append(now)
            continue
        try:
            stream.feed(os.read(terminal, 65536))
        except OSError:  # the program has ended
            break
    return [*seen, '\n'.join(screen.display)]
