# SPDX-License-Identifier: Apache-2.0
"""The host that a guest comes to, as the modules of this wing need it."""

import dataclasses

from nova_blockcopy import conf
from nova_blockcopy.host import hypervisor
from nova_blockcopy.records import journal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The destination: its libvirt, its options, and its journal."""

    here: hypervisor.Hypervisor
    settings: conf.Settings
    journal: journal.Journal

    @property
    def name(self) -> str:
        """The host's name, for messages."""
        return self.here.host
