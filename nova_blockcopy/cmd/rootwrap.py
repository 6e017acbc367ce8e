# SPDX-License-Identifier: Apache-2.0
"""Whether nova-rootwrap lets nova-compute start the privsep helper.

oslo.rootwrap decides, with the configuration that nova-compute uses.
"""

import configparser
import dataclasses
from collections.abc import Sequence

from oslo_config import cfg
from oslo_rootwrap import wrapper
from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import answers
from nova_blockcopy.runtime import privsep

_HELPER = 'privsep-helper'
_SOCKET = '/tmp/tmp00000000/privsep.sock'  # noqa: S108 - nothing is there


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What nova-rootwrap would do.

    ``unused`` says why nova-compute does not start it. ``fault`` says why it
    would refuse.
    """

    unused: str = ''
    fault: str = ''


def look(options: cfg.ConfigOpts, nova_compute: account.Account) -> Verdict:
    """Ask oslo.rootwrap about the command of the helper."""
    if nova_compute.uid == 0:
        return Verdict(unused='nova-compute runs as root, without a helper.')
    if options.workarounds.disable_rootwrap:
        return Verdict(unused='[workarounds] disable_rootwrap is set.')
    if privsep.context.conf.helper_command:
        return Verdict(unused=f'[{privsep.SECTION}] has a helper_command.')
    return Verdict(fault=_fault(options.rootwrap_config))


def _fault(path: str) -> str:
    command = privsep.context.helper_command(_SOCKET)
    arguments = command[command.index(_HELPER) :]
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding='utf-8') as f:
            parser.read_file(f)
        config = wrapper.RootwrapConfig(parser)
        return _refusal(config, arguments)
    except (OSError, ValueError, configparser.Error) as e:
        return (
            f'nova-rootwrap cannot use its configuration ({e}). Correct '
            f'{path}, or set [DEFAULT] rootwrap_config.'
        )


def _refusal(config: wrapper.RootwrapConfig, arguments: Sequence[str]) -> str:
    filters = wrapper.load_filters(config.filters_path)
    try:
        wrapper.match_filter(filters, list(arguments), config.exec_dirs)
    except wrapper.NoFilterMatched:
        return (
            f'No filter of nova-rootwrap allows the helper. Copy '
            f'nova-blockcopy.filters to {config.filters_path[0]}.'
        )
    except wrapper.FilterMatchNotExecutable:
        return (
            f'nova-rootwrap finds no {_HELPER} in '
            f'{", ".join(config.exec_dirs)}. Add its directory to exec_dirs '
            f'in the configuration of nova-rootwrap.'
        )
    return ''


def result(found: Verdict) -> upgradecheck.Result:
    """Decide on nova-rootwrap. Pure."""
    if found.fault:
        return answers.failure(found.fault)
    if found.unused:
        return answers.success(f'nova-rootwrap is not used: {found.unused}')
    return answers.success()
