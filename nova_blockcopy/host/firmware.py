# SPDX-License-Identifier: Apache-2.0
"""The state of a guest's firmware: UEFI variables and the emulated TPM.

libvirt keeps this state in files of the host. A migration takes it along, and
removes the TPM's state from the host that the guest leaves
(qemuDomainRemoveInactive in libvirt's src/qemu/qemu_domain.c, which
VIR_MIGRATE_UNDEFINE_SOURCE leads to). A guest that has ended cannot be
migrated, so this module carries its state.
"""

import base64
import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from collections.abc import Sequence

from nova_blockcopy import domxml
from nova_blockcopy.host import access
from nova_blockcopy.host import bounds
from nova_blockcopy.host import files
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import privsep

#: libvirt's directory of the TPMs, by UUID (swtpmStorageDir in libvirt's
#: src/qemu/qemu_conf.c).
_TPMS = '/var/lib/libvirt/swtpm'
#: libvirt's directory of the UEFI variables (nvramDir, in the same place).
_NVRAMS = '/var/lib/libvirt/qemu/nvram'
_NVRAM = 'nvram'
#: Files of a guest at most, and bytes of all of them. The variables of an Arm
#: guest take 64 MiB (VIRT_FLASH in QEMU's hw/arm/virt.c), and those of others
#: less.
_MOST, _ALL = 16, 80 * 1024 * 1024
#: The names of a TPM's files below its directory; a lock is no state.
_NAME = re.compile(r'tpm(1\.2|2)/[A-Za-z0-9][\w.-]*')


def read(guest: str, xml: str) -> dict[str, str]:
    """Read the state of a guest that is off, to be sent to the other host.

    :param guest: UUID
    :param xml: its persistent definition
    :returns: packed files; empty if the guest has no such state
    """
    names = [_NVRAM, *_names(guest)]
    paths = {name: _path(guest, xml, name) for name in names}
    found = {name: _read(path) for name, path in paths.items() if path}
    return {
        name: base64.b64encode(zlib.compress(content)).decode()
        for name, content in found.items()
        if content
    }


def unpack(packed: Mapping[str, str]) -> dict[str, bytes]:
    """Unpack the files that :func:`read` has returned on the other host. Pure.

    :raises ValueError: the files are more or larger than those of a guest, or
        a file is not packed
    """
    if len(packed) > _MOST:
        raise ValueError(f'{len(packed)} files instead of at most {_MOST}')
    left, found = _ALL, {}
    for name, content in packed.items():
        found[name] = _unpacked(content, left)
        left -= len(found[name])
    return found


def _unpacked(packed: str, most: int) -> bytes:
    reader = zlib.decompressobj()
    try:
        content = reader.decompress(base64.b64decode(packed), most + 1)
    except zlib.error as e:
        raise ValueError(f'a file is not packed ({e})') from e
    if len(content) > most or not reader.eof:
        raise ValueError(f'a file is cut off, or all have more than {_ALL} B')
    return content


def write(guest: str, xml: str, files: Mapping[str, bytes]) -> None:
    """Write the state of a guest that is off, from the other host.

    The paths come from this host's own definition of the guest.

    :param guest: UUID
    :param xml: its persistent definition
    :param files: by name; names that the guest cannot have are left out
    """
    for name, content in files.items():
        path = _path(guest, xml, name)
        if path is not None:
            _write(path, content)


def _path(guest: str, xml: str, name: str) -> str | None:
    """The path of a file on this host; None if the guest has no such file."""
    if not xml:
        return None
    root = domxml.parse(xml)
    if name == _NVRAM:
        source = root.find('os/nvram/source')
        path = source.get('file') if source is not None else None
        return path or root.findtext('os/nvram') or None
    emulated = root.find('devices/tpm/backend[@type="emulator"]')
    if emulated is None or not _NAME.fullmatch(name):
        return None
    return os.path.join(_TPMS, guest, name)


@privsep.entrypoint
def _names(guest: str) -> Sequence[str]:
    home = pathlib.Path(_TPMS, bounds.guest(guest))
    return [
        str(path.relative_to(home))
        for path in home.glob('*/*')
        if path.is_file()
    ]


@privsep.entrypoint
def _read(path: str) -> bytes:
    try:
        with access.opened_below(path, *_places()) as f:
            return f.read()
    except FileNotFoundError:
        return b''


@privsep.entrypoint
def _write(path: str, content: bytes) -> None:
    """Write a file, which keeps its owner; libvirt owns a new TPM's files.

    See qemuTPMEmulatorCreateStorage in libvirt's src/qemu/qemu_tpm.c.
    """
    access.within(path, *_places())
    durable.make_directory(os.path.dirname(path), 0o700)
    with access.place(path, *_places()) as at:
        with os.fdopen(files.rewrite(at), 'wb') as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        durable.sync(os.path.dirname(at))


def _places() -> tuple[str, ...]:
    return (_NVRAMS, _TPMS, *bounds.images())
