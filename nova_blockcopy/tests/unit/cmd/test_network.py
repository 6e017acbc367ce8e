# SPDX-License-Identifier: Apache-2.0
"""The certificates, and the rule for the firewall."""

import time

import ddt

from nova_blockcopy.cmd import network
from nova_blockcopy.host import certificates
from nova_blockcopy.tests.lab import certificates as lab
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cmd import base

_CERTIFICATES, _FIREWALL = 'Certificates', 'Firewall of the exports'
_DAY_S = 24 * 60 * 60


class TestCertificates(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.pki = self.directory / 'pki'
        self.configured = self.file(
            f'export_tls = true\nexport_tls_dir = {self.pki}\n'
            f'[DEFAULT]\nhost = host-b'
        )

    def certify(self, days, name='host-b'):
        authority = lab.Authority(self.directory / 'authority', days)
        authority.certify(self.pki, name, '192.0.2.1')

    def test_they_are_there(self):
        self.certify(1000)
        said = self.check(self.configured)
        self.assert_said(said, _CERTIFICATES, base.SUCCESS)
        self.assertEqual(base.SUCCESS, said.code)

    def test_they_are_missing(self):
        self.assert_only(
            self.check(self.configured),
            *(_CERTIFICATES, base.FAILURE, self.pki / 'ca-cert.pem'),
            *('No disk can leave this host', 'No disk can be seeded'),
        )

    def test_they_have_expired(self):
        self.certify(1)
        later = time.time() + 2 * _DAY_S
        self.stub(f'{certificates.__name__}.time.time', lambda: later)
        self.assert_only(
            self.check(self.configured),
            *(_CERTIFICATES, base.FAILURE, 'expired'),
        )

    def test_they_end_soon(self):
        self.certify(10)
        self.assert_only(
            self.check(self.configured),
            *(_CERTIFICATES, base.WARNING, 'client-cert.pem expires in'),
        )

    def test_they_have_another_name(self):
        self.certify(1000, 'console')
        self.assert_only(
            self.check(self.configured),
            *(_CERTIFICATES, base.WARNING, '"console"', '"host-b"'),
        )


@ddt.ddt
class TestFirewall(base.CommandTestCase):
    def test_the_rule_for_this_host(self):
        text = 'export_address = 127.0.0.1\nexport_port_max = 49300'
        configured = self.file(text)
        said = self.check(configured)
        self.assert_only(
            said,
            *(_FIREWALL, base.SUCCESS, 'ip daddr 127.0.0.1 tcp dport'),
            *('49216-49300', 'ip saddr != { 127.0.0.0/8 } drop'),
        )

    @ddt.data(
        (
            '192.0.2.1',
            '192.0.2.7, 192.0.2.8',
            'ip daddr 192.0.2.1 tcp dport 49216-49343 '
            'ip saddr != { 192.0.2.7, 192.0.2.8 } drop;',
        ),
        (
            '2001:db8::1',
            '2001:db8::/64',
            'ip6 daddr 2001:db8::1 tcp dport 49216-49343 '
            'ip6 saddr != { 2001:db8::/64 } drop;',
        ),
        (
            'host-a',
            'HYPERVISORS',
            'filter; tcp dport 49216-49343 ip saddr != { HYPERVISORS } drop;',
        ),
    )
    @ddt.unpack
    def test_the_rule_for_an_address(self, address, hypervisors, words):
        settings = samples.settings(self.directory, export_address=address)
        self.assertIn(words, network.rule(settings, hypervisors))

    def test_an_address_that_is_not_here(self):
        self.assertIsNone(network.look('203.0.113.77'))
        settings = samples.settings(
            self.directory, export_address='203.0.113.77'
        )
        said = network.firewall(settings, None).details or ""
        self.assertIn('in place of HYPERVISORS', said)

    @ddt.data(
        ('192.0.2.1', '255.255.255.128', '192.0.2.0/25'),
        ('2001:db8::1', 'ffff:ffff:ffff:ffff::', '2001:db8::/64'),
    )
    @ddt.unpack
    def test_the_network_of_an_address(self, address, netmask, found):
        self.assertEqual(found, str(network._network(address, netmask)))
