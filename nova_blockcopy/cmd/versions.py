# SPDX-License-Identifier: Apache-2.0
"""Whether libvirt and QEMU of this host are new enough."""

import libvirt
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import mirror
from nova_blockcopy import model
from nova_blockcopy import plan
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import hypervisor

#: Synchronous writes are safe into such a base, if QEMU has no fault.
_RAW = model.Image(
    path='', kind=model.ImageKind.BLOCK, format=model.ImageFormat.RAW
)


def look(uri: str) -> plan.Versions:
    """Return the versions of libvirt and QEMU.

    Unlike :meth:`hypervisor.Hypervisor.versions`, this function does not wait
    for a libvirt that does not run.

    :raises libvirtError: libvirt does not answer
    """
    connector = hypervisor.Connector(uri)
    connection: libvirt.virConnect = connector()
    try:
        return plan.Versions(
            libvirt=connection.getLibVersion(),
            hypervisor=connection.getVersion(),
        )
    finally:
        connector.close()


def result(
    host: str, settings: conf.Settings, found: plan.Versions
) -> upgradecheck.Result:
    """Decide on the versions. Pure.

    :param host: the name of this host, for messages
    """
    try:
        plan.check_versions(host, found)
    except exception.VersionTooOld as e:
        return answers.failure(str(e))
    qemu = plan.dotted(found.hypervisor)
    if settings.synchronous_writes and not _synchronous(found.hypervisor):
        return answers.warning(
            f'[blockcopy] synchronous_writes has no effect on migrations to '
            f'this host, because its QEMU {qemu} may crash with such writes. '
            f'Upgrade QEMU.'
        )
    said = f'libvirt {plan.dotted(found.libvirt)}, QEMU {qemu}.'
    if mirror.misses_first_writes(found.hypervisor):
        said += (
            ' This QEMU may lose writes that a guest makes while a copy '
            'begins. So the engine pauses each guest that comes to this host '
            'for that moment.'
        )
    return answers.success(said)


def _synchronous(hypervisor_version: int) -> bool:
    return mirror.limits(
        _RAW, alignment=1, cluster=0, hypervisor=hypervisor_version
    ).synchronous
