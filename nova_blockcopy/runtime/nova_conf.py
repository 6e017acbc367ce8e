# SPDX-License-Identifier: Apache-2.0
"""The options of nova-compute, as another program reads them.

The programs that use this module do not import Nova: nova-blockcopy-status,
and the helper that runs as root.
"""

import importlib.metadata
import importlib.util
import os
import socket
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from nova_blockcopy import conf
from nova_blockcopy.conf import nova

PROJECT, PROGRAM = 'nova', 'nova-compute'


def load(options: cfg.ConfigOpts, argv: Sequence[str]) -> None:
    """Read the files that nova-compute reads.

    :param options: gets the options of Nova and of this project
    :param argv: the arguments of the command, which may name other files
    :raises cfg.Error: a file cannot be read
    """
    nova.register_opts(options)
    options.set_default('host', socket.gethostname())
    options.set_default('pybasedir', _pybasedir())
    conf.register_opts(options)
    options(
        argv,
        project=PROJECT,
        version=importlib.metadata.version('nova-blockcopy'),
        default_config_files=cfg.find_config_files(PROJECT, PROGRAM),
        default_config_dirs=cfg.find_config_dirs(PROJECT, PROGRAM),
    )
    if options.state_path:
        nova.set_defaults(options)


def load_again(options: cfg.ConfigOpts, known: cfg.ConfigOpts) -> None:
    """Read the files that another value has read, or those of nova-compute.

    :param options: as for :func:`load`
    :param known: has read its files
    """
    load(options, arguments(known))


def arguments(known: Any) -> list[str]:
    """Return the arguments with which a program reads the same files. Pure.

    :param known: has ``config_file`` and ``config_dir``
    """
    return [
        *(f'--config-file={each}' for each in known.config_file or ()),
        *(f'--config-dir={each}' for each in known.config_dir or ()),
    ]


def _pybasedir() -> str:
    """The directory that Nova lies in, as in Nova's nova/conf/paths.py.

    :returns: '' without Nova
    """
    found = importlib.util.find_spec('nova')
    if found is None or found.origin is None:
        return ''
    return os.path.dirname(os.path.dirname(os.path.abspath(found.origin)))
