# SPDX-License-Identifier: Apache-2.0
"""The bounds of the helper, which runs as root.

A path can come from the other host, from the header of a qcow2 or from the
definition of a guest. So each entry point proves that a path leads to an
image, and that the image lies where this host's administrator keeps images.
The helper reads these places from the configuration files, and takes none from
its caller.

A process that is root itself has no helper, and no bounds. It refuses only
things that are no images.
"""

import dataclasses
import functools
import os
import re
import stat
from collections.abc import Iterable
from collections.abc import Iterator

from oslo_config import cfg

from nova_blockcopy import exception
from nova_blockcopy.runtime import nova_conf

_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
#: The helper of oslo.privsep alone has this option (``helper_main()`` in its
#: daemon.py).
_MARK = 'privsep_context'
NO_IMAGE = 'it is neither a regular file nor a block device.'
#: The remedy for an image that lies elsewhere.
_REMEDY = (
    'If this image may move, add its directory to [blockcopy] image_dirs, and '
    'restart the service.'
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The places of this host that the helper works on, as configured.

    ``images`` are directories of images, and ``groups`` are volume groups.
    The helper makes and removes overlays in ``overlays``. The certificates for
    exports are in ``certificates``.
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    overlays: tuple[str, ...]
    certificates: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """The thing that a path leads to.

    ``place`` is its path without links. ``mode`` is that of stat(2).
    ``directory`` is the directory that has the name, without links; it is
    empty if others than root may change the names there. ``mapped`` is the
    name that device-mapper gives it; empty if it is no such device.
    """

    place: str
    mode: int
    directory: str = ''
    mapped: str = ''


def of(options: cfg.ConfigOpts) -> Bounds:
    """Take the bounds from options; see :func:`nova_conf.load`. Pure."""
    ours = options.blockcopy
    further = tuple(ours.image_dirs)
    group = options.libvirt.images_volume_group
    return Bounds(
        images=(options.instances_path, ours.delta_dir, *further),
        groups=(group,) if group else (),
        overlays=(ours.delta_dir, *further),
        certificates=ours.export_tls_dir,
    )


@functools.cache
def current() -> Bounds | None:
    """Return the bounds of this process; None if it is no helper."""
    if _MARK not in cfg.CONF:
        return None
    options = cfg.ConfigOpts()
    nova_conf.load_again(options, cfg.CONF)
    return of(options)


def refusal(thing: Thing, bounds: Bounds | None) -> str | None:
    """Say why a thing is no image to work on; None if it is one. Pure.

    The directories of the bounds have no links.
    """
    if stat.S_ISREG(thing.mode):
        if bounds is None or lies(thing.place, bounds.images):
            return None
        return f'{thing.place} lies in no directory of images. {_REMEDY}'
    if not stat.S_ISBLK(thing.mode):
        return NO_IMAGE
    if (
        bounds is None
        or any(_is_of(thing.mapped, group) for group in bounds.groups)
        or lies(f'{thing.directory}/', _homes(bounds))
    ):
        return None
    return (
        f'the block device {thing.place} is not in the volume group of '
        f'[libvirt] images_volume_group. {_REMEDY}'
    )


def _homes(bounds: Bounds) -> Iterator[str]:
    """Yield the directories with names of block devices."""
    yield from bounds.images
    for group in bounds.groups:
        yield f'/dev/{group}'


def _is_of(mapped: str, group: str) -> bool:
    """Tell whether a name of device-mapper is of a volume of a group.

    LVM joins the names of group and volume by a hyphen, and doubles the
    hyphens in both (lvm(8), "VALID NAMES").
    """
    begin = f'{group.replace("-", "--")}-'
    return mapped.startswith(begin) and mapped[len(begin) :][:1] not in (
        '',
        '-',
    )


def lies(place: str, directories: Iterable[str]) -> bool:
    """Tell whether a path without links is below a directory. Pure."""
    return any(
        place.startswith(os.path.join(each, '')) for each in directories
    )


def overlays() -> tuple[str, ...]:
    """Return the directories in which overlays are made and removed."""
    found = current()
    return () if found is None else found.overlays


def images() -> tuple[str, ...]:
    """Return the directories that may have images."""
    found = current()
    return () if found is None else found.images


def guest(uuid: str) -> str:
    """Return the UUID of a guest, which can be part of a path.

    :raises ForbiddenPath: it is none
    """
    if not _UUID.fullmatch(uuid):
        raise exception.ForbiddenPath(
            path=repr(uuid), reason='it is no UUID of a guest.'
        )
    return uuid
