# SPDX-License-Identifier: Apache-2.0
"""The file that node_exporter's textfile collector reads."""

import os

from nova_blockcopy.records import durable
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

NAME = 'nova-blockcopy.prom'
#: For node_exporter, which runs as another user.
_MODE = 0o644


class Textfile:
    """One file, which is replaced as a whole.

    Whether the file can be written concerns nobody but those who read it.

    :param directory: an existing directory
    """

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, NAME)
        self._fault = ''

    def write(self, content: bytes) -> None:
        """Replace the file, if that is possible.

        A fault is logged when it changes.
        """
        fault = ''
        try:
            with durable.replacing(self.path) as f:
                f.write(content)
                os.fchmod(f.fileno(), _MODE)
        except OSError as e:
            fault = e.strerror or str(e)
        if fault and fault != self._fault:
            LOG.warning(
                'The metrics are not written to %s: %s. The migrations go on '
                'without them. Make the directory of [blockcopy] metrics_dir '
                'writable for the user of nova-compute.',
                *(self.path, fault),
            )
        elif self._fault and not fault:
            LOG.info('The metrics are written to %s again', self.path)
        self._fault = fault
