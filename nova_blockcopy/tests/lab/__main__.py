# SPDX-License-Identifier: Apache-2.0
"""tools/lab: two hosts on one machine, for people."""

import argparse
import sys

import libvirt

from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import root
from nova_blockcopy.tests.lab import soak

_NAME = 'tool'


def main() -> int:
    parser = argparse.ArgumentParser(prog='tools/lab', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('up', help='bring two hosts up')
    commands.add_parser('down', help='end them; nothing is left behind')
    commands.add_parser('status', help='what is up')
    commands.add_parser('sweep', help='end labs whose owners are dead')
    commands.add_parser(
        'soak',
        help='have a guest go back and forth, on two hosts of its own',
        add_help=False,
    )
    shell = commands.add_parser('shell', help='a shell on a host')
    shell.add_argument('host', choices=['a', 'b'])
    other = commands.add_parser(
        'root',
        help='make the root of another release of Debian, for hosts of a lab',
        description=f'Make the root of another release of Debian, and print '
        f'where it is. Labs use it if {root.VARIABLE} names it.',
    )
    other.add_argument('release', help='such as trixie')
    arguments, others = parser.parse_known_args()
    if arguments.command == 'soak':
        return soak.main(others)
    if others:
        parser.error(f'{others[0]} is not known')
    # errors are raised; libvirt would print them as well
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    it = lab.Lab(_NAME)
    try:
        if arguments.command == 'shell':
            return _shell(it, arguments.host)
        if arguments.command == 'root':
            print(root.make(arguments.release))
            return 0
        _COMMANDS[arguments.command](it)
    except host.LabError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def _up(it: lab.Lab) -> None:
    it.up(owned=False)
    _status(it)
    print(
        f'\nImages: {it.a.images} on each host, its own there.\n'
        f'tools/lab shell a opens a shell on host a; tools/lab down ends it.'
    )


def _down(it: lab.Lab) -> None:
    it.down()


def _sweep(_it: lab.Lab) -> None:
    for name in lab.sweep():
        print(f'Lab {name} of a dead process was ended.')


def _status(it: lab.Lab) -> None:
    if not it.directory.exists():
        print('The lab is down; tools/lab up brings it up.')
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
    """As a person writes what libvirt counts."""
    return f'{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}'


def _shell(it: lab.Lab, name: str) -> int:
    if not it.directory.exists():
        raise host.LabError('The lab is down; tools/lab up brings it up.')
    return {'a': it.a, 'b': it.b}[name].shell()


_COMMANDS = {'up': _up, 'down': _down, 'status': _status, 'sweep': _sweep}

if __name__ == '__main__':
    sys.exit(main())
