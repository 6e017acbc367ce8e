# SPDX-License-Identifier: Apache-2.0
"""nova-compute tells of all that its engine does."""

from typing import Any

import fixtures

from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy.metrics import exporter
from nova_blockcopy.metrics import textfile
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.nova import base
from nova_blockcopy.tests.nova import reconcile_base

_SECONDS = 30


class TestSettled(reconcile_base.ReconcileTestCase):
    def setUp(self):
        self.told: list[Any] = []
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{exporter.__name__}.observers',
                lambda _settings: (self.told.append,),
            )
        )
        super().setUp()

    def test_a_settlement_is_told_on_both_hosts(self):
        self.crashed()
        self.there.journal.open(base.record(model.Role.DESTINATION))
        self.run_it()
        self.assertEqual(
            {
                (model.Role.SOURCE, events.Outcome.UNDONE),
                (model.Role.DESTINATION, events.Outcome.UNDONE),
            },
            {
                (each.subject.role, each.outcome)
                for each in self.told
                if isinstance(each, events.Ended)
            },
        )


class TestMetrics(base.TestCase):
    def test_the_option_has_them_written(self):
        place = self.directory / 'textfiles'
        place.mkdir()
        self.conf.config(group='blockcopy', metrics_dir=str(place))
        self.service()
        path = place / textfile.NAME
        self.assertTrue(waiting.until(path.exists, timeout=_SECONDS))
        self.assertIn('nova_blockcopy_info{', path.read_text())
