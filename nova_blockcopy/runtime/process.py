# SPDX-License-Identifier: Apache-2.0
"""The status of a process or a thread, as the kernel tells it."""

import pathlib


def status(of: int | str) -> dict[str, str]:
    """Read the fields of ``/proc/PID/status``; see proc_pid_status(5).

    :param of: a process id, ``self`` or ``thread-self``
    :raises OSError: the process has ended
    """
    lines = pathlib.Path(f'/proc/{of}/status').read_text().splitlines()
    parts = [line.partition(':') for line in lines]
    return {name: value.strip() for name, _colon, value in parts}
