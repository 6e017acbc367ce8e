# SPDX-License-Identifier: Apache-2.0
"""What the scenarios have in common: a cloud, and guests that are intact."""

import pathlib
from typing import Any

import testtools
from testtools import content
from testtools import content_type

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import cloud
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import fixture
from nova_blockcopy.tests.cloud import server


class CloudTestCase(testtools.TestCase):
    """Scenarios on a cloud; each begins without servers."""

    def set_cloud(
        self,
        *,
        images: str = 'qcow2',
        driver: str = compute.DRIVER,
        shared: bool = False,
        **groups: dict[str, Any],
    ) -> cloud.Cloud:
        """The cloud, with the computes so configured; see ``Cloud.up``."""
        settings = compute.Settings(
            images=images, driver=driver, shared=shared, extra=groups
        )
        it = self.useFixture(fixture.CloudFixture(settings)).cloud
        for each in (it.control.conductor, *(c.service for c in it.computes)):
            self.addDetail(each.log.name, _said(each.log))
        return it

    def assert_intact(self, it: server.Server, at: compute.Compute) -> None:
        """It runs there only, goes on, and every record is on its disk."""
        self.assertEqual([at.name], it.runs_on())
        self.assertEqual(
            ('ACTIVE', None, at.name), (it.status, it.task, it.at.name)
        )
        if it.networked:
            self.assert_bound(it, {at.name: 'ACTIVE'})
        for target in it.targets:
            it.log.wait_for_more(target, 10)
        for verdict in it.verdicts():
            self.assertTrue(verdict.intact, verdict)

    def assert_bound(self, it: server.Server, to: dict[str, str]) -> None:
        """Its port has these bindings, or soon has.

        Nova has them changed by casts to the other host too.
        """
        waiting.until(lambda: it.bindings() == to, timeout=60)
        self.assertEqual(to, it.bindings())


def _said(log: pathlib.Path) -> content.Content:
    """What is added to a log from now on, apart from what is for debugging.

    It is read when the test has failed.
    """
    begin = log.stat().st_size

    def read() -> list[bytes]:
        with log.open('rb') as f:
            f.seek(begin)
            return [line for line in f if b' DEBUG ' not in line]

    return content.Content(content_type.UTF8_TEXT, read)
