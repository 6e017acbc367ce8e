# SPDX-License-Identifier: Apache-2.0
"""The options in nova.conf, and the frozen value that the engine gets.

No code here reads a global configuration. The caller registers the options on
its own ``ConfigOpts``, and makes a :class:`Settings` from it.
"""

import copy
from collections.abc import Iterable
from typing import Any

from oslo_config import cfg

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.conf import copies
from nova_blockcopy.conf import exports
from nova_blockcopy.conf import host
from nova_blockcopy.conf import rules
from nova_blockcopy.conf import seeding
from nova_blockcopy.conf import times
from nova_blockcopy.conf.copies import MAX_BANDWIDTH
from nova_blockcopy.conf.values import Settings
from nova_blockcopy.conf.values import bytes_per_s

__all__ = [
    'BLOCKCOPY_OPTS',
    'LIBVIRT_OPTS',
    'MAX_BANDWIDTH',
    'Settings',
    'bytes_per_s',
    'list_opts',
    'register_opts',
    'settings',
]

LIBVIRT_OPTS = copies.LIBVIRT_OPTS
BLOCKCOPY_OPTS: list[cfg.Opt] = [
    *copies.OPTS,
    *seeding.OPTS,
    *host.OPTS,
    *exports.OPTS,
    *times.OPTS,
]


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register the options in the groups ``[libvirt]`` and ``[blockcopy]``."""
    conf.register_opts(LIBVIRT_OPTS, group='libvirt')
    conf.register_opts(BLOCKCOPY_OPTS, group='blockcopy')


def list_opts() -> Iterable[tuple[str, list[cfg.Opt]]]:
    """List the options for the sample file and the documentation.

    The entry point ``oslo.config.opts`` names this function.
    """
    return [
        ('libvirt', copy.deepcopy(LIBVIRT_OPTS)),
        ('blockcopy', copy.deepcopy(BLOCKCOPY_OPTS)),
    ]


def settings(
    conf: cfg.ConfigOpts,
    *,
    connection_uri: str = 'qemu:///system',
    **overrides: Any,
) -> Settings:
    """Take the options of one host with their present values.

    :param connection_uri: of this host's own libvirt, which is no option:
        nova-compute uses that of Nova
    :param overrides: values that replace configured ones, with the same checks
    :raises InvalidOption: a value is out of its bounds, or an override names
        no option
    """
    values: dict[str, Any] = {'connection_uri': connection_uri}
    for group, opts in list_opts():
        for opt in opts:
            given = ''
            try:
                if opt.dest in overrides:
                    given = f'{overrides[opt.dest]}: '
                    values[opt.dest] = opt.type(overrides.pop(opt.dest))
                else:
                    values[opt.dest] = conf[group][opt.dest]
            except (ValueError, cfg.ConfigFileValueError) as e:
                # that of oslo.config begins with the place, as a tuple
                fault = e.__context__ or e
                raise exception.InvalidOption(
                    option=f'[{group}] {opt.dest}',
                    reason=f'{given}{str(fault).rstrip(".")}. Correct this '
                    f'value.',
                ) from e
    if overrides:
        raise exception.InvalidOption(
            option=', '.join(overrides),
            reason='no such option exists. Correct its name.',
        )
    rules.check(values)
    values['image_dirs'] = tuple(values['image_dirs'])
    values['mode'] = model.Mode(values['mode'])
    values['verify'] = model.Verify(values['verify'])
    return Settings(**values)
