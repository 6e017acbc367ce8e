# SPDX-License-Identifier: Apache-2.0
"""Whether a lock manager of libvirt stands in the way of copies. Pure."""

from collections.abc import Mapping

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.host import qemu_conf


def result(found: Mapping[str, str] | None) -> upgradecheck.Result:
    """Decide on the lock manager.

    :param found: the settings of ``qemu.conf``; None if it is not here
    """
    if found is None:
        return answers.warning(
            f'This was not checked, because {qemu_conf.PATH} is not here. '
            f'Make sure that lock_manager is not set where libvirt runs.'
        )
    name = qemu_conf.lock_manager(found)
    if not name:
        return answers.success()
    return answers.failure(
        f'libvirt uses the lock manager "{name}". It refuses to resume a '
        f'guest that has just pivoted, so each migration to this host is '
        f'refused. Remove lock_manager from {qemu_conf.PATH}, and restart '
        f'libvirt while no guest runs.'
    )
