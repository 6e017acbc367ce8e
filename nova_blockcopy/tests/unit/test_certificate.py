# SPDX-License-Identifier: Apache-2.0
"""Names of certificates."""

import ddt

from nova_blockcopy import certificate
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestCertificate(base.TestCase):
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
