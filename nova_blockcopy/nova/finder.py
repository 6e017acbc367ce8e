# SPDX-License-Identifier: Apache-2.0
"""Finds ``nova.virt.blockcopy`` if Nova is in another directory.

nova-compute imports its driver from Nova's own package only. If Nova comes
from the distribution and this plugin from pip, they are in two directories,
and Python looks for ``nova.virt.blockcopy`` in Nova's directory alone. This
module runs at each start of Python, so it imports next to nothing.
"""

import os
import sys

_NAME = 'nova.virt.blockcopy'


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != _NAME:
            return None
        from importlib import util

        root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        folder = os.path.join(root, *_NAME.split('.'))
        return util.spec_from_file_location(
            name,
            os.path.join(folder, '__init__.py'),
            submodule_search_locations=[folder],
        )


# at the end, so that Python's own finders come first
sys.meta_path.append(_Finder)
