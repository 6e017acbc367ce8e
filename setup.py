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

import pathlib
import shutil

import setuptools
from setuptools.command import build_py

PTH = 'nova-blockcopy.pth'


class BuildPy(build_py.build_py):
    """Puts the .pth file beside the packages.

    It lets nova-compute find our driver where Nova lies in another
    directory. An editable installation has a finder of its own for that.
    """

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copy(PTH, pathlib.Path(self.build_lib))


class Distribution(setuptools.Distribution):
    """pbr wants a package's folder, setuptools its name."""

    def finalize_options(self):
        super().finalize_options()
        self.packages = [
            name.replace('/', '.') for name in self.packages or ()
        ]
        # after pbr, which puts its own commands in place of these
        self.cmdclass['build_py'] = BuildPy


setuptools.setup(
    setup_requires=['pbr>=6.1.1'], pbr=True, distclass=Distribution
)
