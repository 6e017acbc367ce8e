# SPDX-License-Identifier: Apache-2.0
"""The helper that runs functions as root, started as nova-compute does it."""

import shlex

from oslo_config import cfg
from oslo_privsep import priv_context
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import exception
from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import answers
from nova_blockcopy.runtime import privsep


def set_command(options: cfg.ConfigOpts) -> None:
    """Start the helper with the command that Nova's options give.

    See ``get_root_helper`` in Nova's nova/utils.py.
    """
    command = f'sudo nova-rootwrap {options.rootwrap_config}'
    if options.workarounds.disable_rootwrap:
        command = 'sudo'
    priv_context.init(root_helper=shlex.split(command))


def fault() -> str:
    """Tell why functions cannot run as root; '' if they can."""
    try:
        missing = privsep.missing()
    except (exception.HelperError, exception.ChildrenIgnored) as e:
        return str(e)
    if missing:
        return (
            f'The helper lacks {", ".join(missing)}. Add this to capabilities '
            f'in [{privsep.SECTION}], or remove the option.'
        )
    return ''


def result(nova_compute: account.Account, found: str) -> upgradecheck.Result:
    """Decide on the helper.

    :param found: why the user of nova-compute cannot start it; '' if it can
    """
    if found:
        return answers.failure(found)
    if nova_compute.uid == 0:
        return answers.success('nova-compute runs as root, without a helper.')
    return answers.success()
