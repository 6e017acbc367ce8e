# SPDX-License-Identifier: Apache-2.0
"""The table of all faults, by name."""

from nova_blockcopy.tests.faults import fault
from nova_blockcopy.tests.faults import hosts
from nova_blockcopy.tests.faults import links
from nova_blockcopy.tests.faults import others
from nova_blockcopy.tests.faults import processes
from nova_blockcopy.tests.faults import storage

FAULTS: dict[str, fault.Fault] = {
    **processes.FAULTS,
    **links.FAULTS,
    **storage.FAULTS,
    **others.FAULTS,
    **hosts.FAULTS,
}
