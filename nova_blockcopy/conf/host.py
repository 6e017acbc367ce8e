# SPDX-License-Identifier: Apache-2.0
"""The host itself: its libvirt and its journals."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'connection_uri',
        default='qemu:///system',
        help="""
URI of this host's own libvirt, as seen by this host. Inside nova-compute
Nova's connection is used instead, and this option only for ``virsh``.
""",
    ),
    cfg.StrOpt(
        'journal_dir',
        default='/var/lib/nova-blockcopy/journal',
        help="""
Directory of the journals: a file for each guest that is being moved. It must
be on this host's own disk, survive a reboot, and not be shared between
hosts.
""",
    ),
]
