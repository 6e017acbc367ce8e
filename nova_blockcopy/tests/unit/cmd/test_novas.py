# SPDX-License-Identifier: Apache-2.0
"""Nova on the host. The tests of the layer nova ask a real Nova."""

import ddt

from nova_blockcopy.cmd import novas
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit.cmd.base import FAILURE
from nova_blockcopy.tests.unit.cmd.base import SUCCESS
from nova_blockcopy.tests.unit.cmd.base import WARNING


@ddt.ddt
class TestNovas(base.TestCase):
    @ddt.data(
        (novas.Fit(version='34.0.0'), SUCCESS, '34.0.0'),
        (novas.Fit(version='35.0.0'), WARNING, 'Nova 35.0.0'),
        (novas.Fit(version='340.0'), WARNING, 'Nova 340.0'),
        (novas.Fit(version='34.0', lacking=('No x.',)), FAILURE, 'No x. '),
        (novas.Fit(fault='no module nova'), FAILURE, 'no module nova'),
    )
    @ddt.unpack
    def test_the_decision(self, found, code, words):
        said = novas.result(found)
        self.assertEqual(code, said.code.value)
        self.assertIn(words, str(said.details))

    def test_the_program_fails(self):
        self.patch(novas, '_PROGRAM', 'nova_blockcopy.nowhere')
        self.assertIn('nova_blockcopy.nowhere', novas.look().fault)
