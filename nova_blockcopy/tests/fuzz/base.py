# SPDX-License-Identifier: Apache-2.0
"""What the tests of all surfaces share."""

import json
from typing import Any

import hypothesis

from nova_blockcopy.tests.unit import base

_CHECKS = (
    hypothesis.HealthCheck.too_slow,
    hypothesis.HealthCheck.data_too_large,
    hypothesis.HealthCheck.large_base_example,
    hypothesis.HealthCheck.differing_executors,
)


def use(new: bool) -> None:
    """Choose the examples: new ones, or the same in each run.

    The limits of the examples are those of the module ``limits``.
    """
    hypothesis.settings.register_profile(
        'fuzz',
        database=None,
        deadline=None,
        derandomize=not new,
        max_examples=100,
        suppress_health_check=_CHECKS,
        print_blob=True,
    )
    hypothesis.settings.load_profile('fuzz')


use(new=False)


class TestCase(base.TestCase):
    """A test of one surface. All its examples share the directory."""

    limit = 24 * 3600


def plain(value: Any) -> Any:
    """The same after its way through JSON."""
    return json.loads(json.dumps(value))
