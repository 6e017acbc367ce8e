# SPDX-License-Identifier: Apache-2.0
"""The reasons in a disk's XML why the disk cannot move. Pure."""

from lxml import etree

from nova_blockcopy import model

#: Attributes of <source> that name a local image. libvirt adds the index.
_PLACE = ('dev', 'file', 'index')


#: Elements of a disk with which the disk cannot move, and why.
_ELEMENTS = {
    'transient': 'it is transient, so its image does not get its writes; wait '
    'until the guest does not need the disk',
    './/encryption': 'it is encrypted, and the destination does not have its '
    'key; use another way to move the guest',
    'source/slices': 'it is a slice of an image; use another way to move the '
    'guest',
    'throttlefilters': 'it has throttle filters, with which block jobs were '
    'not tried; set <iotune> instead',
    'driver[@copy_on_read="on"]': 'it has copy_on_read, with which libvirt '
    'cannot commit a delta; remove that setting from the definition of the '
    'guest',
}


def of(
    element: etree._Element, source: model.Image | model.NetworkSource | None
) -> str | None:
    """Say why a disk cannot move; None if the XML shows no reason.

    :param element: the ``<disk>`` of a domain
    :param source: the source of the disk; None if it is not supported
    """
    for path, reason in _ELEMENTS.items():
        if element.find(path) is not None:
            return reason
    place = element.find('source')
    if place is None:
        return None
    if source is None:
        driver = element.find('driver')
        format_ = None if driver is None else driver.get('type')
        return (
            f'its source is of type "{element.get("type")}" with format '
            f'"{format_}", which is not supported; use a block device or a '
            f'file, in raw or qcow2 format'
        )
    extra = _lost_settings(place)
    if isinstance(source, model.Image) and extra:
        return (
            f'its <source> has {", ".join(extra)}, which the base would not '
            f'have; remove that from the definition of the guest'
        )
    return None


def _lost_settings(source: etree._Element) -> list[str]:
    """The settings of a local source that a base would not have."""
    return [
        *(name for name in map(str, source.attrib) if name not in _PLACE),
        *(
            f'<{child.tag!s}>'
            for child in source
            if child.tag != 'privateData'
        ),
    ]
