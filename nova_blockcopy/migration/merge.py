#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Overlays go into what they lie on, by the host that has them.

By block commits of the running guest; by qemu-img where it does not run.
"""

import threading
from collections.abc import Mapping

from oslo_log import log as logging

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.copies import group as copygroup
from nova_blockcopy.copies import job as copyjob
from nova_blockcopy.drivers import base
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import images
from nova_blockcopy.host import overlay

LOG = logging.getLogger(__name__)


def merge(
    guest: hypervisor.Guest,
    driver: base.CopyDriver,
    settings: conf.Settings,
    tops: Mapping[str, model.Image],
    into: Mapping[str, model.Image],
    cancelled: threading.Event,
    report: copygroup.Report,
) -> None:
    """Merge, and have the guest use what was merged into.

    :param tops: by disk, the overlay that the guest writes to
    :param into: by disk, the layer below that it all goes into
    :raises BlockCopyError: some disk was not merged; nothing is lost, and
        it can be tried again
    """
    if guest.power() is not hypervisor.Power.OFF:
        try:
            _live(guest, driver, settings, tops, into, cancelled, report)
        except exception.BlockCopyError as e:
            if guest.power() is not hypervisor.Power.OFF:
                raise
            LOG.warning('Guest %s ended while merging: %s', guest.name, e)
        else:
            return
    for disk, image in into.items():
        _at_rest(overlays(tops[disk], image), image, settings)


def _live(
    guest: hypervisor.Guest,
    driver: base.CopyDriver,
    settings: conf.Settings,
    tops: Mapping[str, model.Image],
    into: Mapping[str, model.Image],
    cancelled: threading.Event,
    report: copygroup.Report,
) -> None:
    jobs = [
        copyjob.CommitJob(driver, guest, disk, image)
        for disk, image in into.items()
    ]

    def merged(disk: str) -> None:
        # what the guest writes from now on is newer than its overlays
        overlay.remove(overlays(tops[disk], into[disk]))

    for job in jobs:
        if job.at_base():
            _check_unused(tops[job.disk])
            merged(job.disk)
    # it does not cross the network, so no limit is needed
    group = copygroup.CopyGroup(guest.name, jobs, settings, 0)
    group.start()
    group.follow(cancelled, report)
    with guest.standing_still():
        group.pivot(merged)
    guest.wake()  # if that was cut short the last time


def _check_unused(top: model.Image) -> None:
    """Pass if no process has an overlay open.

    A libvirt that was killed while it froze a disk may not know that its
    QEMU writes to the overlay.
    """
    if overlay.present([top.path]):
        users = images.holders(top.path)
        if users:
            raise exception.ImageError(
                path=top.path,
                reason=f'{", ".join(users)} has it open, although libvirt '
                f'does not know of it; it holds what the guest has written.',
            )


def _at_rest(
    paths: tuple[str, ...], into: model.Image, settings: conf.Settings
) -> None:
    present = overlay.present(paths)
    if paths and paths[0] in present:  # else it has been merged
        # the last one may have been planned only
        overlay.commit(
            present[-1],
            into.path,
            overlay.time_limit(settings.stall_timeout, present),
        )


def overlays(top: model.Image, below: model.Image) -> tuple[str, ...]:
    """The overlays between two layers, the lowest first.

    They are removed in this order, so where the lowest one is gone all were
    merged, or none was ever written to.
    """
    paths = [layer.path for layer in model.layers(top)]
    return tuple(reversed(paths[: paths.index(below.path)]))
