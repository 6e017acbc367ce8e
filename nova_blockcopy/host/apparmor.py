# SPDX-License-Identifier: Apache-2.0
"""The AppArmor profiles that libvirt writes for guests.

A profile lists the images of its guest in a file of rules. Whenever libvirt
makes the rules anew, it denies writing to each layer below the top layer of
each disk (``vah_add_path`` in libvirt's src/security/virt-aa-helper.c).
libvirt does so for a guest that arrives, when a device leaves a guest, and
when a block job ends. In AppArmor a denial overrides each permission, also the
one that libvirt appends when it starts to merge layers into such an image. So
the merge fails.
"""

import os

from nova_blockcopy import exception
from nova_blockcopy.host import access
from nova_blockcopy.host import bounds
from nova_blockcopy.records import durable
from nova_blockcopy.runtime import privsep

#: libvirt's directory of the profiles (APPARMOR_DIR in its source).
_PROFILES = '/etc/apparmor.d/libvirt'
_MODE = 0o644


@privsep.entrypoint
def permit_writing(guest: str, path: str) -> None:
    """Remove the denial of writing to an image from the rules of a guest.

    AppArmor learns of the new rules from libvirt, which appends its permission
    to the file of rules and loads the profile when it starts the merge
    (``AppArmorSetSecurityImageLabel`` in libvirt's
    src/security/security_apparmor.c).

    A guest without a profile stays as it is.

    :param guest: UUID
    :param path: of the image, on this host
    :raises ImageError: the rules cannot be changed
    """
    rules = os.path.join(_PROFILES, f'libvirt-{bounds.guest(guest)}.files')
    access.check_name(path)
    try:
        with access.opened_below(rules, _PROFILES) as f:
            present = f.read()
        wanted = without_denial(present, os.path.realpath(path))
        if wanted != present:
            # libvirt may read the rules at any moment
            with durable.replacing(rules) as f:
                os.fchmod(f.fileno(), _MODE)
                f.write(wanted)
    except FileNotFoundError:
        return
    except OSError as e:
        raise exception.ImageError(
            path=rules,
            reason=f'the AppArmor rules of the guest cannot be changed ({e}). '
            f'Let root write there.',
        ) from e


def without_denial(rules: bytes, path: str) -> bytes:
    """Remove the line that denies writing to an image. Pure.

    :param rules: a file of rules that libvirt has written
    :param path: of the image, without symbolic links
    """
    denial = os.fsencode(f'deny "{path}" w,')
    return b''.join(
        line
        for line in rules.splitlines(keepends=True)
        if line.strip() != denial
    )
