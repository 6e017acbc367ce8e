# SPDX-License-Identifier: Apache-2.0
"""Times and names of certificates."""

import ddt

from nova_blockcopy import certificate
from nova_blockcopy.tests.unit import base

DAY_S = 24 * 60 * 60


@ddt.ddt
class TestCertificate(base.TestCase):
    def setUp(self):
        super().setUp()
        self.known = certificate.Certificate(
            begins_s=DAY_S,
            ends_s=100 * DAY_S,
            begins='the first day',
            ends='the last day',
        )

    def test_a_time_of_which_it_is_valid(self):
        for now_s in (DAY_S, 50 * DAY_S, 100 * DAY_S):
            self.assertIsNone(certificate.fault(self.known, now_s))

    def test_a_time_before(self):
        said = certificate.fault(self.known, DAY_S - 1) or ""
        self.assertIn('the first day', said)
        self.assertIn('clock', said)

    def test_a_time_after(self):
        said = certificate.fault(self.known, 100 * DAY_S + 1) or ""
        self.assertIn('expired on the last day', said)

    @ddt.data((70 * DAY_S, 30), (70 * DAY_S + 1, 29), (100 * DAY_S, 0))
    @ddt.unpack
    def test_the_days_that_are_left(self, now_s, days):
        self.assertEqual(days, certificate.days_left(self.known, now_s))

    @ddt.data('lab-b', 'b.example.org', '192.0.2.1', '2001:db8::1', 'a_b')
    def test_a_plain_name(self, name):
        self.assertTrue(certificate.is_plain(name))

    @ddt.data('', '*', 'lab-?', 'b,CN=c', 'b\\', 'b c', 'b\n', 'b+O=c', 'ä')
    def test_a_name_that_would_be_more_than_a_name(self, name):
        self.assertFalse(certificate.is_plain(name))

    @ddt.data(
        ('{host}', 'b.example.org', 'b.example.org'),
        ('{short}', 'b.example.org', 'b'),
        ('{short}.storage', 'b', 'b.storage'),
        ('{short}', '192.0.2.1', '192.0.2.1'),
        ('{short}', '2001:db8::1', '2001:db8::1'),
        ('hypervisor', 'b', 'hypervisor'),
    )
    @ddt.unpack
    def test_the_common_name_of_a_host(self, template, host, wanted):
        self.assertEqual(wanted, certificate.common_name(template, host))
