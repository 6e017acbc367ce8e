# SPDX-License-Identifier: Apache-2.0
"""Calls of libvirt that are repeated, and the reason for each."""

import libvirt
import tenacity

from nova_blockcopy import exception


def _reason_lost(error: BaseException) -> bool:
    """Tell whether a call of libvirt failed without a reason.

    The Python binding asks libvirt for the reason after the call (libvirt.py,
    ``libvirtError``). A garbage collection may come first. If it frees an
    object of libvirt, libvirt forgets the reason (``virDomainFree``).
    """
    failure = error.__cause__ or error
    return isinstance(failure, libvirt.libvirtError) and failure.err is None


#: For calls that change nothing if they fail. A second call tells the reason.
explained = tenacity.retry(
    retry=tenacity.retry_if_exception(_reason_lost),
    stop=tenacity.stop_after_attempt(3),
    reraise=True,
)
#: For calls that can be repeated: waits up to 30 s for a libvirt that starts
#: again.
patient = tenacity.retry(
    retry=tenacity.retry_if_exception_type(exception.Disconnected)
    | tenacity.retry_if_exception(_reason_lost),
    stop=tenacity.stop_after_delay(30),
    wait=tenacity.wait_fixed(0.5),
    reraise=True,
)
