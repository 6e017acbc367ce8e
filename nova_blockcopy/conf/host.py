# SPDX-License-Identifier: Apache-2.0
"""The options for the host itself: its libvirt and its journals."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'connection_uri',
        default='qemu:///system',
        help="""
URI of this host's own libvirt, for callers of the engine outside of Nova.
nova-compute ignores this option: there the engine and the ``virsh`` driver use
the libvirt of Nova.
""",
    ),
    cfg.StrOpt(
        'journal_dir',
        default='/var/lib/nova-blockcopy/journal',
        help="""
Directory of the journals, with one file for each guest that moves. The
directory must be on a disk of this host, must survive a reboot, and must not
be shared between hosts. In nova-compute the default is ``blockcopy/journal``
below ``[DEFAULT] state_path``.
""",
    ),
]
