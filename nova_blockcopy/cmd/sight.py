# SPDX-License-Identifier: Apache-2.0
"""Whether nova-compute sees the programs that use images. Pure."""

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.host import visibility

_VOLUMES = 'lvm'


def result(
    seen: visibility.Visibility, images_type: str
) -> upgradecheck.Result:
    """Decide on the processes that are seen.

    :param images_type: that of Nova
    """
    if seen is not visibility.Visibility.OWN:
        return answers.success()
    fault = 'nova-compute does not see the processes of libvirt on this host'
    if images_type == _VOLUMES:
        return answers.failure(
            f'{fault}, so no guest with volumes can come here. '
            f'{visibility.REMEDY}'
        )
    return answers.warning(
        f'{fault}, so programs that take no locks on an image go unnoticed. '
        f'{visibility.REMEDY}'
    )
