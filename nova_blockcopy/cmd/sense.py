# SPDX-License-Identifier: Apache-2.0
"""Options that are valid alone and make no sense together. Pure."""

from collections.abc import Iterator

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy.cmd import answers

#: Ports of a disk in seeded mode.
_PORTS = 2


def result(
    settings: conf.Settings, options: cfg.ConfigOpts
) -> upgradecheck.Result:
    """Decide on the options of the engine and of Nova together."""
    found = [
        *_encryption(settings, options),
        *_numbers(settings, options),
    ]
    return answers.warning(' '.join(found)) if found else answers.success()


def _encryption(
    settings: conf.Settings, options: cfg.ConfigOpts
) -> Iterator[str]:
    if settings.export_tls and settings.allow_plaintext:
        yield (
            'allow_plaintext has no effect, because export_tls is on. Remove '
            'allow_plaintext, so that no disk moves in clear text by mistake.'
        )
    if (
        options.libvirt.live_migration_with_native_tls
        and not settings.export_tls
    ):
        yield (
            'The memory of guests is encrypted, but their disks are not. '
            'Remove export_tls = false from [blockcopy].'
        )


def _numbers(
    settings: conf.Settings, options: cfg.ConfigOpts
) -> Iterator[str]:
    if 0 < settings.ready_timeout <= settings.stall_timeout:
        yield (
            f'stall_timeout ({settings.stall_timeout} s) has no effect on '
            f'copies, because ready_timeout ({settings.ready_timeout} s) ends '
            f'them earlier. Set ready_timeout to 0 or to a longer time.'
        )
    ports = settings.export_port_max - settings.export_port_min + 1
    guests = options.max_concurrent_live_migrations
    if ports < _PORTS * max(guests, 1):
        yield (
            f'export_port_min and export_port_max leave {ports} ports, but '
            f'{max(guests, 1)} guests may leave this host at a time '
            f'(max_concurrent_live_migrations), and each of their disks takes '
            f'{_PORTS}. Raise export_port_max.'
        )
