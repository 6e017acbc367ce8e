# SPDX-License-Identifier: Apache-2.0
"""Domain XML: take disks over from one XML of a domain into another one.

Pure. A domain has several XMLs at the same time: the running one, the
persistent one, and those from before a step of the migration.
"""

from collections.abc import Collection

from nova_blockcopy import domxml


def restore_disks(xml: str, original: str, targets: Collection[str]) -> str:
    """Replace disks of a domain by those of another XML of the domain.

    :param original: the XML that has the wanted disks
    :param targets: the targets of the disks to replace
    """
    root = domxml.parse(xml)
    donors = domxml.by_target(domxml.parse(original))
    for target, disk in domxml.by_target(root).items():
        parent = disk.getparent()
        if target in targets and target in donors and parent is not None:
            parent.replace(disk, donors[target])
    return domxml.text(root)


def without_detached(xml: str, present: str) -> str:
    """Leave out the disks that the domain no longer has.

    :param present: the XML of the domain now
    """
    root = domxml.parse(xml)
    elements = domxml.by_target(root)
    gone = elements.keys() - domxml.by_target(domxml.parse(present)).keys()
    for target in gone:
        parent = elements[target].getparent()
        if parent is not None:
            parent.remove(elements[target])
    return domxml.text(root) if gone else xml


def restore_images(xml: str, original: str, targets: Collection[str]) -> str:
    """Give disks of a domain the images that another XML of it has.

    The driver element counts as a part of the image, because its format and
    caches belong to the image. All else of the disks stays.

    :param original: the XML that has the wanted images
    :param targets: the targets of the disks to change
    """
    root = domxml.parse(xml)
    donors = domxml.by_target(domxml.parse(original))
    for target, element in domxml.by_target(root).items():
        if target in targets and target in donors:
            donor = donors[target]
            for name in ('driver', *domxml.LOCATION):
                for child in element.findall(name):
                    element.remove(child)
            element.set('type', donor.get('type', ''))
            wanted = [
                child
                for name in ('driver', 'source', 'backingStore')
                for child in donor.findall(name)
            ]
            element[:0] = wanted
    return domxml.text(root)
