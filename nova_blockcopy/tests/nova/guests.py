# SPDX-License-Identifier: Apache-2.0
"""Nova's guests, their XML, and the domains of libvirt below them."""

import threading
from typing import Any

import libvirt

from nova_blockcopy import domxml
from nova_blockcopy.tests.unit import samples


class Domain:
    """A domain of libvirt-python that is told to migrate."""

    def __init__(self) -> None:
        self.migrated: list[tuple[str, dict[str, Any], int]] = []
        self.error: Exception | None = None

    def migrateToURI3(self, destination, params, flags):
        if self.error is not None:
            raise self.error
        self.migrated.append((destination, params, flags))

    @staticmethod
    def name():
        return 'instance-00000001'


HOME = samples.domain(
    samples.disk_xml('vda'),
    samples.disk_xml('vdb', '<source dev="/dev/disk/by-id/volume-here"/>'),
    samples.disk_xml('vdc', '<source dev="/dev/vg/more"/><backingStore/>'),
)
#: What Nova makes of it: the volume is elsewhere there, the rest is as here.
NOVAS = HOME.replace('volume-here', 'volume-there').replace(
    '<console type="pty"/>', '<console type="tcp"/>'
)
MOVES = (
    samples.move('vda', samples.image('/dev/vg/root')),
    samples.move('vdc', samples.image('/dev/vg/more')),
)
EXPORTS = {
    # what lies below its top layer is read over the network, too
    'vda': (samples.export('vda', 49216), samples.content('vda', 49218)),
    'vdc': (samples.export('vdc', 49217),),
}
REMOTE = domxml.point_at_exports(HOME, MOVES, EXPORTS)
DISKS = ('vda', 'vdc')


def away_from_exports(found):
    """The disks that moved which do not read all their exports."""
    return [
        move.disk
        for move in MOVES
        if not domxml.at_exports(found[move.disk], move, EXPORTS[move.disk])
    ]


class MovingDomain(Domain):
    """Nova's domain, on one host or the other."""

    def __init__(self, xml: str) -> None:
        super().__init__()
        self.xml = xml
        self.here = True
        #: The job that it has, and whether somebody has seen one.
        self.kind = libvirt.VIR_DOMAIN_JOB_NONE
        self.polled = threading.Event()

    def isActive(self):
        return self.here

    def XMLDesc(self, flags=0):
        return self.xml

    def UUIDString(self):
        return samples.UUID

    def migrateToURI3(self, destination, params, flags):
        super().migrateToURI3(destination, params, flags)
        self.here = False

    def jobStats(self, flags=0):
        if not self.here:
            return {'type': libvirt.VIR_DOMAIN_JOB_COMPLETED}
        if self.kind != libvirt.VIR_DOMAIN_JOB_NONE:
            self.polled.set()
        return {'type': self.kind}

    def migrateSetMaxDowntime(self, milliseconds):
        """Nova allows for more downtime, step by step."""

    def jobInfo(self):
        return [self.jobStats()['type'], *[0] * 11]
