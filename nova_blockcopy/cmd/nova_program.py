# SPDX-License-Identifier: Apache-2.0
"""A program of the layer towards Nova, in a process of its own.

A command does not import Nova, which may be missing or damaged.
"""

import json
import os
import subprocess
import sys
from typing import Any


def ask(module: str, *arguments: str, timeout: float) -> Any:
    """Run a module with the Python of this command.

    :param timeout: seconds
    :returns: the data in the last line that the program has printed
    :raises CalledProcessError: the program has failed; see :func:`failure`
    :raises TimeoutExpired: the program was ended
    :raises OSError: the program cannot be started
    :raises LookupError: the program has printed nothing
    :raises ValueError: the last line is not JSON
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', module, *arguments],
        env={**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def failure(error: subprocess.CalledProcessError) -> str:
    """Return the last line that a program has printed about its failure."""
    printed: list[str] = error.stderr.strip().splitlines()
    return (printed or [str(error)])[-1]
