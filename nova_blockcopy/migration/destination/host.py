# SPDX-License-Identifier: Apache-2.0
"""The parts of the destination host that the modules of this wing need."""

import dataclasses

from nova_blockcopy import conf
from nova_blockcopy import events
from nova_blockcopy.host import hypervisor
from nova_blockcopy.migration.destination import surroundings
from nova_blockcopy.migration.destination import trust
from nova_blockcopy.records import journal


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """This host's libvirt, options and journal, and its trust in sources.

    ``surroundings`` are the caller's knowledge of this host.
    ``observers`` get each event of this host.
    """

    here: hypervisor.Hypervisor
    settings: conf.Settings
    journal: journal.Journal
    trust: trust.Trust
    surroundings: surroundings.Surroundings
    observers: tuple[events.Observer, ...] = ()

    @property
    def name(self) -> str:
        """The host's name, for messages."""
        return self.here.host
