# SPDX-License-Identifier: Apache-2.0
"""The unprivileged user that nova-compute runs as, and the user's rights.

As on a real compute host, the user may use libvirt and run nova-rootwrap by
sudo.
"""

import os
import pathlib
import stat
import subprocess
import sys

import nova_blockcopy
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import service
from nova_blockcopy.tests.lab import host

NAME = 'nova'
#: The id of the user and of the group.
NUMBER = 64057
#: A command prefix that runs a command as that user.
COMMAND = (
    *('setpriv', '--reuid', str(NUMBER), '--regid', str(NUMBER)),
    *('--clear-groups', '--'),
)
ETC = pathlib.Path('/etc/nova')
SUDOERS = pathlib.Path('/etc/sudoers.d')
_PROJECT = pathlib.Path(nova_blockcopy.__file__).parents[1]
#: The directories of Python and of the modules that it imports.
_NEEDED = (_PROJECT, service.PREFIX, pathlib.Path(sys.base_prefix))


def add(at: host.Host, commands: pathlib.Path) -> None:
    """Create the user on a host.

    :param commands: the directory that root's PATH begins with, for the
        stand-in of LVM
    """
    for file, line in (
        ('passwd', f'{NAME}:*:{NUMBER}:{NUMBER}::{hosts.STATE}:/bin/sh\n'),
        ('group', f'{NAME}:*:{NUMBER}:\n'),
    ):
        with at.outside(f'/etc/{file}').open('a') as f:
            f.write(line)
    path = service.search_path(commands)
    sudoers = at.outside(SUDOERS / NAME)
    sudoers.write_text(
        f'Defaults:{NAME} secure_path="{path}"\n'
        f'{NAME} ALL=(root) NOPASSWD: {service.program("nova-rootwrap")} '
        f'{ETC}/rootwrap.conf *\n'
    )
    sudoers.chmod(0o440)
    filters = [
        str(each / 'etc' / 'nova' / 'rootwrap.d')
        for each in (service.PREFIX, _PROJECT)
    ]
    at.outside(ETC / 'rootwrap.conf').write_text(
        f'[DEFAULT]\n'
        f'filters_path = {",".join(filters)}\n'
        f'exec_dirs = {service.PREFIX / "bin"}\n'
    )
    at.call(_uncover)


def own(*paths: pathlib.Path) -> None:
    """Make the user the owner of files."""
    for path in paths:
        os.chown(path, NUMBER, NUMBER)


def _uncover() -> None:
    """Let all users of this host reach Python and its modules.

    These may be below a directory that only root can enter. An empty directory
    is mounted over each such directory, and contains only the needed
    directories.
    """
    for n, path in enumerate(_NEEDED):
        _mount('--bind', path, _aside(n))
    for n, path in enumerate(_NEEDED):
        for above in reversed(path.parents):
            if above.exists() and not above.stat().st_mode & stat.S_IXOTH:
                _mount('-t', 'tmpfs', '-o', 'mode=755', 'none', above)
        if not path.exists():
            path.mkdir(parents=True)
            _mount('--bind', _aside(n), path)


def _aside(number: int) -> pathlib.Path:
    """Return a place for a directory while its own place is covered."""
    path = pathlib.Path('/run/needed') / str(number)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _mount(*arguments: str | pathlib.Path) -> None:
    subprocess.run(['mount', *arguments], check=True)
