# SPDX-License-Identifier: Apache-2.0
"""What runs as root, by oslo.privsep: the context of such functions.

A function that is an entry point here runs in a helper process, which is
started when it is first needed. A process that is root itself needs none.
"""

import copy
import functools
import os
from collections.abc import Callable
from collections.abc import Iterable
from typing import ParamSpec
from typing import TypeVar
from typing import cast

from oslo_config import cfg
from oslo_privsep import capabilities
from oslo_privsep import daemon
from oslo_privsep import priv_context

from nova_blockcopy import exception

P = ParamSpec('P')
T = TypeVar('T')

SECTION = 'nova_blockcopy_sys_admin'
#: To open images, whoever's they are, and to see who else has one open.
CAPABILITIES = (capabilities.CAP_DAC_OVERRIDE, capabilities.CAP_SYS_PTRACE)
#: Most of them wait: for a server to start or to end, or for a disk.
_THREADS = 16

context = priv_context.PrivContext(
    'nova_blockcopy',
    cfg_section=SECTION,
    pypath=f'{__name__}.context',
    capabilities=CAPABILITIES,
)
context.set_client_mode(os.geteuid() != 0)
cfg.CONF.set_default('thread_pool_size', _THREADS, group=SECTION)


def entrypoint(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function run as root.

    Arguments and results are numbers, strings, bytes, lists and
    dictionaries; a list arrives as a tuple. An exception must be made anew
    by its ``args``.

    :raises HelperError: besides its own; the helper cannot be started
    """
    call = context.entrypoint(function)

    # what the context knows an entry point by is an attribute of the partial
    @functools.wraps(call)
    def ensured(*args: P.args, **kwargs: P.kwargs) -> T:
        if context.client_mode and context.channel is None:
            _start()
        return cast('T', call(*args, **kwargs))

    return ensured


def _start() -> None:
    try:
        context.start()
    except (OSError, daemon.FailedToDropPrivileges) as e:
        raise exception.HelperError(section=SECTION, reason=e) from e


def list_opts() -> Iterable[tuple[str, list[cfg.Opt]]]:
    """Entry point ``oslo.config.opts``: for the sample file and the docs."""
    opts = copy.deepcopy(priv_context.OPTS)
    names = [capabilities.CAPS_BYVALUE[each] for each in CAPABILITIES]
    cfg.set_defaults(opts, capabilities=names, thread_pool_size=_THREADS)
    return [(SECTION, opts)]
