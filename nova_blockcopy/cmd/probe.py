# SPDX-License-Identifier: Apache-2.0
"""A start of the helper as the user of nova-compute, by a command of root.

Root needs no helper. So root runs this module as that user.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from oslo_config import cfg

from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import helper
from nova_blockcopy.runtime import nova_conf

_TIMEOUT = 60


def fault(options: cfg.ConfigOpts, nova_compute: account.Account) -> str:
    """Tell why the user of nova-compute cannot start the helper.

    :param options: with the files that were read
    :returns: '' if the helper starts
    """
    files = nova_conf.arguments(options)
    try:
        done = subprocess.run(
            [sys.executable, '-m', __name__, *files],
            user=nova_compute.uid,
            group=nova_compute.gid,
            extra_groups=os.getgrouplist(nova_compute.name, nova_compute.gid),
            cwd='/',
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return (
            f'{sys.executable} cannot be run as the user {nova_compute.name} '
            f'({e}). Let this user reach the Python of nova-compute.'
        )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ['no output'])[-1]
    return done.stdout.strip()


def main(argv: Sequence[str]) -> None:
    """Print why this user cannot start the helper; nothing if it can."""
    nova_conf.load(cfg.CONF, argv)
    helper.set_command(cfg.CONF)
    print(helper.fault())


if __name__ == '__main__':
    main(sys.argv[1:])
