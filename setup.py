# SPDX-License-Identifier: Apache-2.0
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
    """Leaves the tests, the lab and the cloud out of the wheel.

    pbr wants the folder of a package, setuptools its name.
    """

    def finalize_options(self):
        super().finalize_options()
        self.packages = [
            name.replace('/', '.')
            for name in self.packages or ()
            if not name.startswith('nova_blockcopy.tests')
        ]
        # pbr takes every file of the repository for data of a package
        self.include_package_data = False
        self.package_data = {'nova_blockcopy': ['py.typed']}
        # after pbr, which puts its own commands in place of these
        self.cmdclass['build_py'] = BuildPy


setuptools.setup(
    setup_requires=['pbr>=6.1.1'], pbr=True, distclass=Distribution
)
