# SPDX-License-Identifier: Apache-2.0
"""Notes that a killed nova-compute has left are removed at the next start."""

import ddt
import fixtures

from nova_blockcopy import model
from nova_blockcopy.host import images
from nova_blockcopy.nova import reconcile
from nova_blockcopy.records import received
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import reconcile_base
from nova_blockcopy.tests.unit import samples

GUEST = samples.UUID


@ddt.ddt
class TestSweep(reconcile_base.ReconcileTestCase):
    def setUp(self):
        super().setUp()
        self.base = self.directory / 'base'
        self.base.touch()
        self.engine.expected.note(GUEST, base.THERE, [str(self.base)])
        self.book = received.Book(self.engine.settings.journal_dir, GUEST)
        self.book.begin(
            'vda',
            received.Received(
                identity=images.identity(str(self.base)),
                base=samples.image(str(self.base), samples.FILE),
                size_bytes=1,
            ),
        )

    def left(self):
        """The notes after a start."""
        reconcile.Reconciler(self.engine, self.manager).run(patience=30)
        directory = self.engine.settings.journal_dir
        return [
            *self.engine.expected.guests(),
            *received.guests(directory),
        ]

    def test_the_bases_exist(self):
        self.assertEqual([GUEST, GUEST], self.left())

    def test_the_bases_are_gone(self):
        self.base.unlink()
        self.assertEqual([], self.left())

    @ddt.data(model.Role.SOURCE, model.Role.DESTINATION)
    def test_a_journal_needs_them(self, role):
        self.base.unlink()
        self.engine.journal.open(base.record(role))
        self.engine.sweep()
        self.assertEqual([GUEST], self.engine.expected.guests())

    def test_the_bases_are_kept_elsewhere(self):
        self.base.unlink()
        self.useFixture(
            fixtures.MockPatchObject(
                self.engine.kept, 'has', lambda guest: guest == GUEST
            )
        )
        self.assertEqual([GUEST, GUEST], self.left())
