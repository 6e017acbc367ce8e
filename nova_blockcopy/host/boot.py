# SPDX-License-Identifier: Apache-2.0
"""The present boot of this host.

A host that was rebooted has lost all writes that were not flushed, and its
device numbers may have changed.
"""

_BOOT_ID = '/proc/sys/kernel/random/boot_id'


def current() -> str:
    """Return the boot id of the kernel, a UUID (proc_sys_kernel(5))."""
    with open(_BOOT_ID, encoding='ascii') as f:
        return f.read().strip()
