# SPDX-License-Identifier: Apache-2.0
"""Whether nova-compute could load the driver, as a program of its own.

``nova-blockcopy-status`` runs this module in a process of its own, because
Nova may be missing or damaged. The output is one line of JSON.
"""

import importlib
import json
import sys

from nova_blockcopy.nova import compat
from nova_blockcopy.nova import contract

#: The module that nova-compute loads (``load_compute_driver`` in
#: nova/virt/driver.py).
_DRIVER = 'nova.virt.blockcopy'


def main() -> None:
    """Print Nova's version, and what the installed Nova lacks."""
    importlib.import_module(_DRIVER)
    found = {'version': compat.version(), 'lacking': contract.lacking()}
    json.dump(found, sys.stdout)


if __name__ == '__main__':
    main()
