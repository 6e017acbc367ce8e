#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

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
