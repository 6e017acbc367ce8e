# SPDX-License-Identifier: Apache-2.0
"""The names of exports."""

from nova_blockcopy.migration.source import exports
from nova_blockcopy.tests.unit import base


class TestExportName(base.TestCase):
    def test_it_tells_what_it_is_and_is_never_the_same(self):
        one, two = (exports.name('m1', 'vda') for _ in range(2))
        self.assertIn('m1', one)
        self.assertIn('vda', one)
        self.assertNotEqual(one, two)
