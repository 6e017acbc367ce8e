# SPDX-License-Identifier: Apache-2.0
"""A file whose writes fail with EIO on order.

A qemu-storage-daemon on a host of a lab shows the file by FUSE. Between that
file and the real one the daemon can put a node ``blkdebug``, which lets each
write fail.
"""

import json
import pathlib
import socket
from typing import Any

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import host

_SECONDS = 10


def serve(at: host.Host, path: str) -> None:
    """Put the daemon between a file of a host and all that open the file.

    :param path: of the file on the host
    """
    real = f'{path}.real'
    at.run('mv', path, real)
    at.run('touch', path)
    control = _control(at)
    control.unlink(missing_ok=True)
    nodes: tuple[dict[str, Any], ...] = (
        {
            'node-name': 'good',
            'driver': 'file',
            'filename': real,
            'discard': 'unmap',
        },
        {
            'node-name': 'bad',
            'driver': 'blkdebug',
            'image': 'good',
            'inject-error': [{'event': 'none', 'iotype': 'write', 'errno': 5}],
        },
        {'node-name': 'top', 'driver': 'raw', 'file': 'good'},
    )
    at.run(
        *('qemu-storage-daemon', '--daemonize'),
        *('--chardev', f'socket,id=c,path={control},server=on,wait=off'),
        *('--monitor', 'chardev=c'),
        *(word for node in nodes for word in ('--blockdev', json.dumps(node))),
        '--export',
        f'fuse,id=it,node-name=top,mountpoint={path},writable=on,growable=on',
    )
    waiting.until(lambda: _mounted(at, path), timeout=_SECONDS)


def fail(at: host.Host, *, failing: bool) -> None:
    """Let each write to the file fail from now on, or work again."""
    top = {
        'driver': 'raw',
        'node-name': 'top',
        'file': 'bad' if failing else 'good',
    }
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_SECONDS)
        line.connect(str(_control(at)))
        with line.makefile('rw') as stream:
            stream.readline()
            for command, arguments in (
                ('qmp_capabilities', {}),
                ('blockdev-reopen', {'options': [top]}),
            ):
                order = {'execute': command, 'arguments': arguments}
                stream.write(json.dumps(order) + '\n')
                stream.flush()
                answer = json.loads(stream.readline())
                if 'error' in answer:
                    raise host.LabError(answer['error']['desc'])


def _mounted(at: host.Host, path: str) -> bool:
    return not at.run('mountpoint', '-q', path, check=False).returncode


def _control(at: host.Host) -> pathlib.Path:
    return at.directory / 'failing.qmp'
