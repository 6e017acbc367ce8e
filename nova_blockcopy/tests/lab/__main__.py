# SPDX-License-Identifier: Apache-2.0
"""tools/lab: two hosts on one machine, to try and to test with."""

import argparse
import os
import sys

import libvirt

from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import root

_NAME = 'tool'


def main() -> int:
    parser = argparse.ArgumentParser(prog='tools/lab', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    up = commands.add_parser('up', help='start the two hosts')
    up.add_argument(
        '--platform',
        choices=root.PLATFORMS,
        help=f'the release whose libvirt and QEMU the hosts run; its root is '
        f'made if it does not exist (default: the root in {root.VARIABLE}, or '
        f"the machine's own programs)",
    )
    commands.add_parser('down', help='end both hosts and remove their files')
    commands.add_parser('status', help='show the hosts and their guests')
    commands.add_parser('sweep', help='end the labs of dead processes')
    shell = commands.add_parser('shell', help='open a shell on a host')
    shell.add_argument('host', choices=['a', 'b'])
    other = commands.add_parser(
        'root',
        help='make a root of another Debian release for the hosts of labs',
        description=f'Make a root of another Debian release and print its '
        f'path. Set {root.VARIABLE} to that path to use the root in labs.',
    )
    other.add_argument('platform', choices=root.PLATFORMS, help='the release')
    arguments = parser.parse_args()
    # without a handler, libvirt prints each error besides raising it
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    it = lab.Lab(_NAME)
    try:
        if arguments.command == 'shell':
            return _shell(it, arguments.host)
        if arguments.command == 'root':
            print(root.make(root.PLATFORMS[arguments.platform]))
            return 0
        if arguments.command == 'up' and arguments.platform:
            made = root.make(root.PLATFORMS[arguments.platform])
            os.environ[root.VARIABLE] = str(made)
        _COMMANDS[arguments.command](it)
    except host.LabError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def _up(it: lab.Lab) -> None:
    it.up(owned=False)
    _status(it)
    print(
        f'\nEach host has its own directory {it.a.images} for images.\n'
        f'tools/lab shell a opens a shell on host a; tools/lab down ends the '
        f'lab.'
    )


def _down(it: lab.Lab) -> None:
    it.down()


def _sweep(_it: lab.Lab) -> None:
    for name in lab.sweep():
        print(f'Ended lab {name} of a dead process.')


def _status(it: lab.Lab) -> None:
    if not it.directory.exists():
        print('The lab is down; start it with "tools/lab up".')
        return
    print(
        f'{"host":6}{"name":10}{"address":12}{"URI":32}{"libvirt":9}'
        f'{"QEMU":9}guests'
    )
    for each in it.hosts:
        connection = each.connect()
        names = [domain.name() for domain in connection.listAllDomains()]
        versions = (
            _version(connection.getLibVersion()),
            _version(connection.getVersion()),
        )
        connection.close()
        print(
            f'{each.name:6}{each.hostname:10}{each.address:12}'
            f'{each.peer_uri:32}{versions[0]:9}{versions[1]:9}'
            f'{", ".join(names) or "-"}'
        )


def _version(number: int) -> str:
    """Write one of libvirt's version numbers with dots."""
    return f'{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}'


def _shell(it: lab.Lab, name: str) -> int:
    if not it.directory.exists():
        raise host.LabError('The lab is down; start it with "tools/lab up".')
    return {'a': it.a, 'b': it.b}[name].shell()


_COMMANDS = {'up': _up, 'down': _down, 'status': _status, 'sweep': _sweep}

if __name__ == '__main__':
    sys.exit(main())
