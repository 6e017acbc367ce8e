# SPDX-License-Identifier: Apache-2.0
"""Whether the user of QEMU can use the deltas. Pure."""

import stat
from collections.abc import Mapping

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.cmd import capabilities
from nova_blockcopy.host import directories
from nova_blockcopy.host import qemu_conf


def result(
    found: capabilities.Capabilities,
    place: directories.Place,
    settings: Mapping[str, str] | None,
) -> upgradecheck.Result:
    """Decide on the user of QEMU.

    :param place: that of ``delta_dir``
    :param settings: those of ``qemu.conf``; None if they are not known
    """
    if found.uid is None:
        return answers.success('libvirt does not tell the user of QEMU.')
    if found.uid == 0:
        return answers.success('QEMU runs as root.')
    if (settings or {}).get('dynamic_ownership') == '0':
        return answers.failure(
            f'libvirt does not give the deltas to the user of QEMU. Set '
            f'dynamic_ownership = 1 in {qemu_conf.PATH}, and restart libvirt.'
        )
    for level in place.above:
        if not _passes(level, found.uid, found.gids):
            return answers.failure(
                f'The user {found.uid}, whom QEMU runs as, cannot pass '
                f'through {level.path} to delta_dir. Run "chmod o+x '
                f'{level.path}", or set [blockcopy] delta_dir to another '
                f'directory.'
            )
    return answers.success()


def _passes(level: directories.Level, uid: int, gids: tuple[int, ...]) -> bool:
    wanted = stat.S_IXOTH
    if level.gid in gids:
        wanted = stat.S_IXGRP
    if level.uid == uid:
        wanted = stat.S_IXUSR
    return bool(level.mode & wanted)
