# SPDX-License-Identifier: Apache-2.0
"""Whether nova-compute can start with the options of this host.

A bad option ends nova-compute with one sentence in the log. Nova ends in the
same way if it cannot use an option of its own (``load_compute_driver`` in
nova/virt/driver.py, ``basic_config_check`` in nova/service.py). Otherwise the
option would fail hours later, in the first migration.
"""

import errno
import os
import stat
import sys

from nova_blockcopy import conf
from nova_blockcopy import drivers
from nova_blockcopy import exception
from nova_blockcopy.host import deltas
from nova_blockcopy.host import directories
from nova_blockcopy.host import hypervisor
from nova_blockcopy.nova import settings
from nova_blockcopy.runtime import children
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)


def require(uri: str) -> None:
    """End nova-compute if :func:`check` fails.

    :param uri: of Nova's libvirt
    :raises SystemExit: an option of this host cannot be used
    """
    try:
        check(uri)
    except exception.BlockCopyError as e:
        LOG.critical('nova-compute cannot start: %s', e)
        sys.exit(1)


def check(uri: str) -> None:
    """Pass if the engine can work with the options of this host.

    No connection to libvirt is opened.

    :param uri: of Nova's libvirt
    :raises ChildrenIgnored: this process ignores SIGCHLD
    :raises InvalidOption: an option, or the copy driver, cannot be used
    :raises HelperError: the helper cannot be started
    :raises UnsafeDirectory: ``journal_dir`` cannot be relied on
    """
    children.check()
    found = settings.read(uri)
    drivers.load(found, hypervisor.Connector(uri))
    _check_tls_dir(found)
    deltas.present(())  # starts the helper
    _prepare_directories(found)


def _check_tls_dir(found: conf.Settings) -> None:
    """Pass if the directory of the certificates is there.

    The files in it are looked at by each migration, as they can be renewed
    while nova-compute runs.
    """
    if not found.export_tls:
        return
    path, fault = found.export_tls_dir, ''
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            fault = os.strerror(errno.ENOTDIR)
    except PermissionError:
        return  # the helper can look into it
    except OSError as e:
        fault = e.strerror or str(e)
    if fault:
        raise exception.InvalidOption(
            option='[blockcopy] export_tls_dir',
            reason=f'{path}: {fault}. Put the certificates and keys of the '
            f'exports there, or name their directory.',
        )


def _prepare_directories(found: conf.Settings) -> None:
    """Make the directories of this host, or make them safe again.

    A ``delta_dir`` that cannot be used is found again by each migration, which
    then uses direct mode. So nova-compute starts without the directory.

    :raises UnsafeDirectory: ``journal_dir`` cannot be relied on
    """
    directories.prepare(found.journal_dir, 'journal_dir', directories.PRIVATE)
    try:
        deltas.prepare(found.delta_dir)
    except exception.UnsafeDirectory as e:
        LOG.error('Guests cannot be seeded: %s', e)
