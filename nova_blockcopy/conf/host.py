# SPDX-License-Identifier: Apache-2.0
"""The options for the host itself: its images and its journals."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        'image_dirs',
        default=[],
        advanced=True,
        help="""
Further directories with images of this host, separated by commas. The helper
process, which runs as root, opens only images below these directories, below
``[DEFAULT] instances_path`` and ``delta_dir``, and volumes of ``[libvirt]
images_volume_group``.

Set this option if some layers of disks lie elsewhere, such as the overlays of
a backup tool. Outside of Nova, list all directories of images. A block device
counts as an image of the directory that has its name, such as
``/dev/mapper``, if only root can write to that directory.

The helper makes and removes overlays in these directories, too. So before you
change ``delta_dir`` while guests move, list its old value here.
""",
    ),
    cfg.StrOpt(
        'journal_dir',
        default='/var/lib/nova-blockcopy/journal',
        sample_default='$state_path/blockcopy/journal',
        help="""
Directory of the journals, with one file for each guest that moves. The
directory must be on a disk of this host, must survive a reboot, and must not
be shared between hosts. ``$state_path`` is that of Nova, in ``[DEFAULT]``.
""",
    ),
    cfg.StrOpt(
        'metrics_dir',
        default='',
        help="""
Directory for the metrics of this host, in the file ``nova-blockcopy.prom``.
Set the directory that the textfile collector of Prometheus's node_exporter
reads (``--collector.textfile.directory``), such as
``/var/lib/prometheus/node-exporter``. The directory must exist, and the user
of nova-compute must be allowed to write to it. By default there are no
metrics.
""",
    ),
]
