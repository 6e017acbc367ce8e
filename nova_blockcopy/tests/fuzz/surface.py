# SPDX-License-Identifier: Apache-2.0
"""One surface, whose tests run again and again with other examples."""

import importlib
import io
import itertools
import pathlib
import time
import unittest

import hypothesis

from nova_blockcopy.tests.fuzz import base
from nova_blockcopy.tests.fuzz import limits

NAMES = sorted(
    path.stem.removeprefix('test_')
    for path in pathlib.Path(__file__).parent.glob('test_*.py')
)


def run(name: str, seconds: float, seed: int) -> tuple[int, str]:
    """Run the tests of one surface in this process.

    :param seconds: 0 = once, with the same examples as always
    :returns: the number of examples, and the failures in words
    """
    base.use(new=bool(seconds))
    module = importlib.import_module(f'{base.__package__}.test_{name}')
    ends = time.monotonic() + seconds
    for number in itertools.count(seed):
        if seconds:
            _sow(module, number)
        told = io.StringIO()
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        result = unittest.TextTestRunner(told, verbosity=0).run(suite)
        if not result.wasSuccessful():
            return limits.examples.total(), f'seed {number}\n{told.getvalue()}'
        if time.monotonic() >= ends:
            break
    return limits.examples.total(), ''


def _sow(module: object, seed: int) -> None:
    """Give all tests of a module a seed."""
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, unittest.TestCase):
            for test in vars(kind).values():
                if hasattr(test, 'hypothesis'):
                    hypothesis.seed(seed)(test)
