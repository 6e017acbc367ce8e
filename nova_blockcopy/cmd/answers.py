# SPDX-License-Identifier: Apache-2.0
"""The results of the checks, as oslo.upgradecheck shows them."""

from oslo_upgradecheck import upgradecheck


def success(details: str | None = None) -> upgradecheck.Result:
    """Nothing is to be done."""
    return upgradecheck.Result(upgradecheck.Code.SUCCESS, details)


def warning(details: str) -> upgradecheck.Result:
    """Somebody should look, or the check could not be made."""
    return upgradecheck.Result(upgradecheck.Code.WARNING, details)


def failure(details: str) -> upgradecheck.Result:
    """nova-compute or its migrations will fail on this host."""
    return upgradecheck.Result(upgradecheck.Code.FAILURE, details)
