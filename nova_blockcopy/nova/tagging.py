# SPDX-License-Identifier: Apache-2.0
"""The hooks of Nova, whose lines in the log name the instance.

Nova's own lines have the instance because each of them passes it to the
logger. The engine's lines have the instance of the hook that they come from.
"""

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

from nova_blockcopy.runtime import log as logging

K = TypeVar('K', bound=type)
R = TypeVar('R')

_INSTANCE = 'instance'


def tagged(kind: K) -> K:
    """Have all lines of a mixin's hooks name the instance.

    A hook is a method with a parameter ``instance``.
    """
    for name, method in tuple(vars(kind).items()):
        if inspect.isfunction(method):
            signature = inspect.signature(method)
            if _INSTANCE in signature.parameters:
                setattr(kind, name, _tagged(method, signature))
    return kind


def _tagged(
    method: Callable[..., R], signature: inspect.Signature
) -> Callable[..., R]:
    @functools.wraps(method)
    def hook(*args: object, **kwargs: object) -> R:
        bound = signature.bind(*args, **kwargs).arguments
        with logging.about(bound[_INSTANCE].uuid):
            return method(*args, **kwargs)

    return hook
