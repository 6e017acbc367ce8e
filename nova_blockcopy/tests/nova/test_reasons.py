# SPDX-License-Identifier: Apache-2.0
"""A reason has place in what Nova shows."""

import ddt
from nova.compute import utils

from nova_blockcopy import exception
from nova_blockcopy.nova import compat
from nova_blockcopy.nova import reasons
from nova_blockcopy.tests.nova import base

_LONG = exception.DiskRefused(
    disk='vda',
    guest='guest',
    reason=f'it has a feature: {"x " * 200}. Use a cold migration.',
)


@ddt.ddt
class TestErrors(base.TestCase):
    @ddt.data(
        (reasons.refusal, compat.MigrationPreCheckError),
        (reasons.failure, compat.MigrationError),
    )
    @ddt.unpack
    def test_what_nova_shows_of_it(self, make, kind):
        error = make(_LONG)
        self.assertIs(kind, type(error))
        shown = utils.exception_to_dict(error)['message']
        self.assertIn(': Disk vda of guest "guest" cannot be moved', shown)
        self.assertTrue(shown.endswith('... Use a cold migration.'), shown)
        self.assertIn(str(_LONG), self.log.output)

    def test_a_short_one_is_whole(self):
        error = reasons.refusal('it runs. Stop it.')
        self.assertEqual(
            'Migration pre-check error: it runs. Stop it.', str(error)
        )
        self.assertNotIn('it runs', self.log.output)

    def test_an_error_without_a_text_has_its_name(self):
        self.assertIn('MemoryError', str(reasons.failure(MemoryError())))
