# SPDX-License-Identifier: Apache-2.0
"""The oslo.privsep context of the functions that run as root.

An :func:`entrypoint` runs in a helper process. The first call of an entry
point starts the helper. A process that is root itself runs the function
directly, without a helper.

The helper runs each call on a thread of a pool. A call that may take long is
a :func:`lasting` entry point. Such calls never use all threads of the pool.

The import of this module sets the default of ``thread_pool_size`` in the
global ``CONF``, because oslo.privsep reads its options there.
"""

import contextlib
import copy
import functools
import os
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import ParamSpec
from typing import TypeVar
from typing import cast

from oslo_config import cfg
from oslo_privsep import capabilities
from oslo_privsep import daemon
from oslo_privsep import priv_context

from nova_blockcopy import exception
from nova_blockcopy.runtime import children

P = ParamSpec('P')
T = TypeVar('T')

SECTION = 'nova_blockcopy_sys_admin'
#: To open images of any owner, to see which processes have an image open, and
#: to end programs, which do not run as root.
CAPABILITIES = (
    capabilities.CAP_DAC_OVERRIDE,
    capabilities.CAP_SYS_PTRACE,
    capabilities.CAP_KILL,
)
#: Threads of the helper. Most of them wait for a server or for a disk.
_THREADS = 32
_THREADS_HELP = """
Number of threads of the helper. Calls that may take long, such as a merge of
deltas, use all but 8 of them.
"""
#: Threads that lasting calls leave free.
_FREE = 8
#: Seconds that a lasting call waits for the end of others.
_PATIENCE = 3600

context = priv_context.PrivContext(
    'nova_blockcopy',
    cfg_section=SECTION,
    pypath=f'{__name__}.context',
    capabilities=CAPABILITIES,
)
context.set_client_mode(os.geteuid() != 0)
cfg.CONF.set_default('thread_pool_size', _THREADS, group=SECTION)


def entrypoint(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function run as root on this host.

    Arguments and results can be numbers, strings, bytes, lists and
    dictionaries; a list arrives as a tuple. An exception of the function
    reaches the caller as a copy, which is made from its ``args``.

    A call of the function raises these errors, besides those of the function:

    :raises HelperError: the helper cannot be started
    :raises ChildrenIgnored: the process that runs the function ignores SIGCHLD
    """
    call = context.entrypoint(function)

    # oslo.privsep knows an entry point by an attribute, which wraps() copies
    @functools.wraps(call)
    def ensured(*args: P.args, **kwargs: P.kwargs) -> T:
        if not context.client_mode:
            children.check()
        elif context.channel is None:
            _start()
        return cast('T', call(*args, **kwargs))

    return ensured


def lasting(function: Callable[P, T]) -> Callable[P, T]:
    """Make an entry point of a function that may take longer than a moment.

    Many such calls wait for each other. So other calls, which are also made
    while a guest is paused, do not wait for them.

    A call of the function raises the errors of an :func:`entrypoint`, and:

    :raises HelperBusy: other lasting calls have used their threads for an hour
    """
    call = entrypoint(function)

    @functools.wraps(call)
    def placed(*args: P.args, **kwargs: P.kwargs) -> T:
        if not context.client_mode:
            return call(*args, **kwargs)
        with _place():
            return call(*args, **kwargs)

    return placed


@contextlib.contextmanager
def _place() -> Iterator[None]:
    places = _places()
    if not places.acquire(timeout=_PATIENCE):
        raise exception.HelperBusy(section=SECTION, timeout=_PATIENCE)
    try:
        yield
    finally:
        places.release()


@functools.cache
def _places() -> threading.BoundedSemaphore:
    threads = context.conf.thread_pool_size
    return threading.BoundedSemaphore(max(1, threads - _FREE))


def _start() -> None:
    try:
        context.start()
    except (OSError, daemon.FailedToDropPrivileges) as e:
        raise exception.HelperError(section=SECTION, reason=e) from e


@entrypoint
def missing() -> Sequence[str]:
    """Name the capabilities that the helper lacks.

    Only tests have a helper that is not root, which needs none.
    """
    effective, _permitted, _inheritable = capabilities.get_caps()
    return [
        capabilities.CAPS_BYVALUE[each]
        for each in CAPABILITIES
        if each not in effective and os.geteuid() == 0
    ]


def list_opts() -> Iterable[tuple[str, list[cfg.Opt]]]:
    """List the options for the sample file and the documentation.

    The entry point ``oslo.config.opts`` names this function.
    """
    opts = copy.deepcopy(priv_context.OPTS)
    names = [capabilities.CAPS_BYVALUE[each] for each in CAPABILITIES]
    cfg.set_defaults(opts, capabilities=names, thread_pool_size=_THREADS)
    for opt in opts:
        if opt.name == 'thread_pool_size':
            # oslo.privsep has its own default in both
            opt.sample_default = None
            opt.help = _THREADS_HELP
    return [(SECTION, opts)]
