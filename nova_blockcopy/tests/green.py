# SPDX-License-Identifier: Apache-2.0
"""Runs a module as in a nova-compute that has been patched by eventlet.

``python -m nova_blockcopy.tests.green -m MODULE ARGUMENT...``
"""

import runpy
import sys

if __name__ == '__main__':
    import eventlet  # type: ignore[import-not-found]  # noqa: H905

    eventlet.monkey_patch()
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
