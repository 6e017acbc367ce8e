# SPDX-License-Identifier: Apache-2.0
"""tools/cloud: a whole OpenStack on one machine, to try and to test with."""

import argparse
import sys
import time

import libvirt

from nova_blockcopy.tests.cloud import cloud
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.lab import host


def main() -> int:
    arguments = _parser().parse_args()
    # without a handler, libvirt prints each failed attempt to reach a libvirtd
    # that starts
    libvirt.registerErrorHandler(lambda *_ignored: None, None)
    try:
        return _COMMANDS[arguments.command](cloud.Cloud(), arguments)
    except host.LabError as e:
        print(e, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tools/cloud', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    up = commands.add_parser(
        'up',
        help='start the cloud, or restart its computes with other settings',
    )
    up.add_argument(
        '--images',
        choices=compute.IMAGES,
        help='[libvirt] images_type (default: qcow2)',
    )
    up.add_argument(
        '--driver', help=f'compute_driver (default: {compute.DRIVER})'
    )
    up.add_argument(
        '--nova',
        metavar='VERSION',
        help='version of Nova (default: as in tox.ini)',
    )
    commands.add_parser('down', help='end the cloud and remove its files')
    commands.add_parser('status', help='show the services and their logs')
    commands.add_parser('sweep', help='end the clouds of dead processes')
    client = commands.add_parser(
        'openstack',
        help='run the openstack client as administrator',
        add_help=False,
    )
    client.add_argument('arguments', nargs=argparse.REMAINDER)
    shell = commands.add_parser('shell', help='open a shell on a host')
    shell.add_argument('host', choices=['a', 'b', 'control'])
    return parser


def _up(it: cloud.Cloud, arguments: argparse.Namespace) -> int:
    begin = time.monotonic()
    given = {
        name: value
        for name in ('images', 'driver')
        if (value := getattr(arguments, name)) is not None
    }
    if it.is_up:
        it.reconfigure(**given)
    else:
        it.up(compute.Settings(**given), owned=False)
    _status(it, arguments)
    print(
        f'\nUp after {time.monotonic() - begin:.0f} s. Try these:\n'
        f'  tools/cloud openstack server list --long\n'
        f'  tools/cloud shell a\n'
        f'  tools/cloud down'
    )
    return 0


def _down(it: cloud.Cloud, _arguments: argparse.Namespace) -> int:
    it.down()
    return 0


def _sweep(_it: cloud.Cloud, _arguments: argparse.Namespace) -> int:
    for name in cloud.sweep():
        print(f'Ended cloud {name} of a dead process.')
    return 0


def _status(it: cloud.Cloud, _arguments: argparse.Namespace) -> int:
    if not it.is_up:
        print('The cloud is down; start it with "tools/cloud up".')
        return 0
    settings = it.settings
    print(f'images {settings.images}, driver {settings.driver}\n')
    print(f'{"host":9}{"service":16}{"process":10}log')
    computes = [each.service for each in it.computes]
    for each in (*it.control.services, *computes):
        process = each.process
        number = process.pid if process else 'ended'
        print(f'{each.at.name:9}{each.name:16}{number!s:10}{each.log}')
    for one in it.computes:
        log = one.host.outside('/var/log/libvirt/libvirtd.log')
        print(f'{one.host.name:9}{"libvirtd":16}{"":10}{log}')
    return 0


def _openstack(it: cloud.Cloud, arguments: argparse.Namespace) -> int:
    _require(it)
    return it.control.openstack(arguments.arguments)


def _shell(it: cloud.Cloud, arguments: argparse.Namespace) -> int:
    _require(it)
    host_of = {'a': it.a.host, 'b': it.b.host, 'control': it.control.host}
    return host_of[arguments.host].shell()


def _require(it: cloud.Cloud) -> None:
    if not it.is_up:
        raise host.LabError(
            'The cloud is down; start it with "tools/cloud up".'
        )


_COMMANDS = {
    'up': _up,
    'down': _down,
    'status': _status,
    'sweep': _sweep,
    'openstack': _openstack,
    'shell': _shell,
}

if __name__ == '__main__':
    sys.exit(main())
