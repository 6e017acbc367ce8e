# SPDX-License-Identifier: Apache-2.0
"""Domain XML: read the disks of a domain, and change their sources.

Pure: each function takes text, and returns text or values. libvirt describes
the elements in docs/formatdomain.rst, "Hard drives, floppy disks, CDROMs".
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from lxml import etree

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import obstacle
from nova_blockcopy import wire

Element = etree._Element

#: An entity could read a file of this host into the XML.
_parser = functools.partial(
    etree.XMLParser,
    remove_blank_text=True,
    remove_comments=True,
    resolve_entities=False,
    no_network=True,
)
_PORT = re.compile('[0-9]{1,5}')

#: Attributes of a disk in the remote window. An I/O error must pause the
#: guest, which must not see the error. With ``discard`` a sparse disk arrives
#: sparse.
_REMOTE_DRIVER = {
    'discard': 'unmap',
    'error_policy': 'stop',
    'rerror_policy': 'stop',
}
#: ``detect_zeroes`` by the format of the base. A mirror takes this attribute
#: from the domain's disk, not from the XML of the copy (libvirt's
#: qemuDomainPrepareDiskSourceData in src/qemu/qemu_domain.c). A raw base keeps
#: zeroes as holes that way. In a qcow2 base writes of zeroes can corrupt the
#: image (see the page on QEMU in the contributor guide).
_DETECT_ZEROES = {
    model.ImageFormat.RAW: 'unmap',
    model.ImageFormat.QCOW2: 'off',
}
#: Settings of the driver that only a qcow2 can have.
_QCOW2_ONLY = ('metadata_cache', 'discard_no_unref')
_SOURCE_ATTRIBUTE = {
    model.ImageKind.BLOCK: 'dev',
    model.ImageKind.FILE: 'file',
}
#: Children of <disk> that name its images, in libvirt's order.
LOCATION = ('source', 'backingStore', 'mirror')


def parse(xml: str) -> Element:
    """Parse the XML of a domain.

    :raises XMLError: the text is not XML, or has a DOCTYPE
    """
    try:
        root = etree.fromstring(xml, _parser())
    except (etree.XMLSyntaxError, ValueError) as e:  # or a NUL, for example
        raise exception.XMLError(reason=wire.brief(e)) from e
    if root.getroottree().docinfo.internalDTD is not None:
        raise exception.XMLError(
            reason='it has a DOCTYPE, which libvirt does not write'
        )
    return root


def text(root: Element) -> str:
    """Write an element as XML."""
    return str(etree.tostring(root, pretty_print=True, encoding='unicode'))


def guest_name(xml: str) -> str:
    """The name of a domain; empty if the XML has none."""
    return parse(xml).findtext('name') or ''


def disks(xml: str) -> dict[str, model.Disk]:
    """All disks of a domain by target, in the order of the XML.

    :raises XMLError: the text is not XML, or a disk has no target
    """
    found = by_target(parse(xml)).items()
    return {target: _disk(target, element) for target, element in found}


def disk(xml: str, target: str) -> model.Disk:
    """One disk of a domain.

    :raises DiskGone: the domain has no such disk
    """
    found = disks(xml).get(target)
    if found is None:
        raise exception.DiskGone(guest=guest_name(xml), disk=target)
    return found


def _disk(target: str, element: Element) -> model.Disk:
    source = _source(element)
    mirror = element.find('mirror')
    return model.Disk(
        target=target,
        device=element.get('device', 'disk'),
        source=source,
        readonly=element.find('readonly') is not None,
        shareable=element.find('shareable') is not None,
        cache=_attribute(element, 'driver', 'cache'),
        obstacle=obstacle.of(element, source),
        mirror_ready=None if mirror is None else mirror.get('ready') == 'yes',
        mirror_path=_local_path(mirror),
        top_path=_local_path(element),
    )


def _local_path(element: Element | None) -> str | None:
    source = None if element is None else element.find('source')
    if source is None:
        return None
    return source.get('file') or source.get('dev')


def _source(element: Element) -> model.Image | model.NetworkSource | None:
    source = element.find('source')
    if source is None:
        return None
    if element.get('type') == 'network':
        host = source.find('host')
        return model.NetworkSource(
            protocol=source.get('protocol', ''),
            name=source.get('name', ''),
            address='' if host is None else host.get('name', ''),
            port=_port(host),
            tls=source.get('tls') == 'yes',
            backing=_backing(element),
        )
    format_ = _attribute(element, 'driver', 'type') or 'raw'
    return _image(element, source, format_)


def _port(host: Element | None) -> int:
    port = (host is not None and host.get('port')) or '0'
    if not _PORT.fullmatch(port):
        raise exception.XMLError(reason=f'{wire.brief(port)} is no port')
    return int(port)


def _backing(
    element: Element,
) -> model.Image | model.NetworkSource | None:
    """The layer below a network disk."""
    store = element.find('backingStore')
    if store is None:
        return None
    source = store.find('source')
    if source is None or store.get('type') == 'network':
        return _source(store)
    return _image(store, source, _attribute(store, 'format', 'type'))


def _image(
    element: Element, source: Element, format_: str | None
) -> model.Image | None:
    try:
        kind = model.ImageKind(element.get('type', ''))
        image_format = model.ImageFormat(format_ or '')
    except ValueError:
        return None
    path = source.get(_SOURCE_ATTRIBUTE[kind])
    if not path:
        return None
    store = element.find('backingStore')
    below = element.find('backingStore/source')
    backing = None
    if store is not None and below is not None:
        backing = _image(store, below, _attribute(store, 'format', 'type'))
        if backing is None:
            return None
    return model.Image(
        path=path, kind=kind, format=image_format, backing=backing
    )


def _attribute(element: Element, child: str, name: str) -> str | None:
    found = element.find(child)
    return None if found is None else found.get(name)


def _require(element: Element, child: str) -> Element:
    found = element.find(child)
    if found is None:
        raise exception.XMLError(reason=f'<{element.tag!s}> has no <{child}>')
    return found


def point_at_exports(
    xml: str,
    moves: Iterable[model.Move],
    exports: Mapping[str, tuple[model.Export, ...]],
) -> str:
    """Make the XML with which the domain runs in the remote window.

    A disk reads its top layer over NBD. If a second export serves the content
    of the layers below, the disk reads that over NBD, too. Otherwise the disk
    reads the backing file of the base, which has the same content.

    :param exports: the exports of each disk, the top layer's first
    """

    def remote(element: Element, move: model.Move) -> None:
        top, *below = exports[move.disk]
        detect_zeroes = _DETECT_ZEROES[move.base.format]
        _driver(
            element,
            move.top().format,
            {**_REMOTE_DRIVER, 'detect_zeroes': detect_zeroes},
        )
        element.set('type', 'network')
        store = _backing_store(move.base.backing)
        if below:
            store = _content_store(below[0])
        _locate(element, _nbd_source(top), store)

    return _rewrite(xml, moves, remote)


def point_at_bases(xml: str, moves: Iterable[model.Move]) -> str:
    """Make the XML of the domain for the time after the pivot."""

    def local(element: Element, move: model.Move) -> None:
        _driver(element, move.base.format, {})
        element.set('type', move.base.kind)
        _locate(
            element,
            _local_source(move.base),
            _backing_store(move.base.backing),
        )

    return _rewrite(xml, moves, local)


def freeze(xml: str, moves: Iterable[model.Move]) -> str:
    """Make the XML of the snapshot that freezes the disks of a domain.

    With this snapshot the domain writes to the last delta of each move.
    """
    paths = {move.disk: move.deltas[-1] for move in moves}
    snapshot = etree.Element('domainsnapshot')
    elements = etree.SubElement(snapshot, 'disks')
    for target in disks(xml):
        path = paths.get(target)
        if path is None:
            etree.SubElement(elements, 'disk', name=target, snapshot='no')
            continue
        disk = etree.SubElement(
            elements, 'disk', name=target, snapshot='external', type='file'
        )
        etree.SubElement(disk, 'driver', type=model.ImageFormat.QCOW2)
        etree.SubElement(disk, 'source', file=path)
    return text(snapshot)


def copy_destination(base: model.Image) -> str:
    """Make the XML argument of a block copy into a base.

    The XML declares the format and the whole backing chain, so that libvirt
    probes nothing.
    """
    element = etree.Element('disk', type=base.kind)
    etree.SubElement(element, 'driver', name='qemu', type=base.format)
    element.append(_local_source(base))
    element.append(_backing_store(base.backing))
    return text(element)


def _rewrite(
    xml: str,
    moves: Iterable[model.Move],
    change: Callable[[Element, model.Move], None],
) -> str:
    root = parse(xml)
    elements = by_target(root)
    for move in moves:
        if move.disk in elements:
            change(elements[move.disk], move)
    return text(root)


def by_target(root: Element) -> dict[str, Element]:
    """The disk elements of a domain, by target.

    :raises XMLError: the text is not XML, or a disk has no target
    """
    return {
        _require(disk, 'target').get('dev', ''): disk
        for disk in root.iterfind('devices/disk')
    }


def _driver(
    element: Element, format_: model.ImageFormat, more: Mapping[str, str]
) -> None:
    driver = element.find('driver')
    if driver is None:
        driver = etree.Element('driver', name='qemu')
        element.insert(0, driver)
    driver.set('type', format_)
    for name, value in more.items():
        driver.set(name, value)
    if format_ is not model.ImageFormat.QCOW2:
        for name in _QCOW2_ONLY:
            driver.attrib.pop(name, '')
            for child in driver.findall(name):
                driver.remove(child)


def _locate(element: Element, source: Element, store: Element) -> None:
    for name in LOCATION:
        for child in element.findall(name):
            element.remove(child)
    driver = _require(element, 'driver')
    element.insert(element.index(driver) + 1, source)
    element.insert(element.index(driver) + 2, store)


def _local_source(image: model.Image) -> Element:
    return etree.Element('source', {_SOURCE_ATTRIBUTE[image.kind]: image.path})


def _nbd_source(export: model.Export) -> Element:
    source = etree.Element('source', protocol='nbd', name=export.name)
    if export.tls:
        source.set('tls', 'yes')
    etree.SubElement(
        source, 'host', name=export.address, port=str(export.port)
    )
    return source


def _content_store(export: model.Export) -> Element:
    element = etree.Element('backingStore', type='network')
    etree.SubElement(element, 'format', type=model.ImageFormat.RAW)
    element.append(_nbd_source(export))
    etree.SubElement(element, 'backingStore')
    return element


def _backing_store(image: model.Image | None) -> Element:
    if image is None:
        return etree.Element('backingStore')
    element = etree.Element('backingStore', type=image.kind)
    etree.SubElement(element, 'format', type=image.format)
    element.append(_local_source(image))
    element.append(_backing_store(image.backing))
    return element


def at_exports(
    disk: model.Disk, move: model.Move, exports: Sequence[model.Export]
) -> bool:
    """Whether a disk has the source that :func:`point_at_exports` gives it.

    :param exports: the exports of the disk, the top layer's first
    """
    below: model.Image | model.NetworkSource | None = move.base.backing
    for export in reversed(exports):
        below = model.NetworkSource(
            protocol='nbd',
            name=export.name,
            address=export.address,
            port=export.port,
            tls=export.tls,
            backing=None if export.content else below,
        )
    return disk.source == below


def at_image(disk: model.Disk, image: model.Image) -> bool:
    """Whether a disk uses this image, and has no block job.

    The layers below the top are not compared, because a persistent
    definition may leave them out.
    """
    return (
        disk.mirror_ready is None
        and isinstance(disk.source, model.Image)
        and dataclasses.replace(disk.source, backing=None)
        == dataclasses.replace(image, backing=None)
    )
