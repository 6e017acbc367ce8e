# SPDX-License-Identifier: Apache-2.0
"""The time limits of Nova against those of the engine. Pure."""

from collections.abc import Iterator

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy.cmd import answers

#: Nova counts at least so many GiB of memory
#: (``_live_migration_data_gb`` in its nova/virt/libvirt/driver.py).
_LEAST_GIB = 2


def result(
    settings: conf.Settings, options: cfg.ConfigOpts
) -> upgradecheck.Result:
    """Decide on the time limits."""
    found = [*_answers(settings, options), *_switchovers(settings, options)]
    return answers.warning(' '.join(found)) if found else answers.success()


def _answers(
    settings: conf.Settings, options: cfg.ConfigOpts
) -> Iterator[str]:
    limit = options.rpc_response_timeout
    if settings.call_timeout > limit:
        yield (
            f'[blockcopy] call_timeout is {settings.call_timeout} s, but the '
            f'other host waits only {limit} s for an answer of this host '
            f'([DEFAULT] rpc_response_timeout). Set call_timeout to {limit} '
            f'or less.'
        )


def _switchovers(
    settings: conf.Settings, options: cfg.ConfigOpts
) -> Iterator[str]:
    limit = _LEAST_GIB * options.libvirt.live_migration_completion_timeout
    if settings.switchover_timeout < limit:
        yield (
            f'A guest may take {limit} s and more to leave its host '
            f'([libvirt] live_migration_completion_timeout), but only '
            f'{settings.switchover_timeout} s to go back ([blockcopy] '
            f'switchover_timeout). Set switchover_timeout to {limit} or more.'
        )
