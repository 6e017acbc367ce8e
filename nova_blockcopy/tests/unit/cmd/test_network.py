# SPDX-License-Identifier: Apache-2.0
"""The certificates, and the rule for the firewall."""

import time

import ddt

from nova_blockcopy.cmd import network
from nova_blockcopy.host import certificates
from nova_blockcopy.tests.lab import certificates as lab
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.cmd import base

_OF_QEMU = 'Certificates of QEMU'
_CERTIFICATES, _FIREWALL = 'Certificates', 'Firewall of the exports'
_DAY_S = 24 * 60 * 60


class TestCertificates(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.pki = self.directory / 'pki'
        self.certify(1000, into=self.directory / 'qemu')
        self.qemu_conf.write_text(
            f'default_tls_x509_cert_dir = "{self.directory}/qemu"\n'
        )
        self.configured = self.file(
            f'export_tls = true\nexport_tls_dir = {self.pki}\n'
            f'allow_plaintext = false\n'
            f'[DEFAULT]\nhost = host-b'
        )

    def certify(self, days, name='host-b', address='127.0.0.1', into=None):
        authority = lab.Authority(self.directory / f'authority{days}', days)
        authority.certify(into or self.pki, name, address)

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

    def test_they_have_another_address(self):
        self.certify(1000, address='192.0.2.1')
        self.assert_only(
            self.check(self.configured),
            *(_CERTIFICATES, base.WARNING, '192.0.2.1', 'to 127.0.0.1'),
        )

    def test_those_of_qemu_are_missing(self):
        self.certify(1000)
        self.qemu_conf.write_text(
            f'nbd_tls_x509_cert_dir = "{self.directory}/none"\n'
        )
        self.assert_only(
            self.check(self.configured),
            *(_OF_QEMU, base.FAILURE, f'{self.directory}/none/ca-cert.pem'),
            *('No guest can use its disks',),
        )

    def test_those_of_qemu_have_another_name(self):
        self.certify(1000)
        self.certify(1000, 'console', into=self.directory / 'qemu')
        self.assert_only(
            self.check(self.configured),
            *(_OF_QEMU, base.WARNING, '"console"', '"host-b"'),
        )

    def test_the_directory_of_qemu_is_not_known(self):
        self.certify(1000)
        self.qemu_conf.unlink()
        said = self.check(self.configured)
        self.assert_said(
            *(said, _OF_QEMU, base.WARNING, 'not checked', 'nbd_tls_x509'),
        )


@ddt.ddt
class TestFirewall(base.CommandTestCase):
    def test_the_rule_for_this_host(self):
        text = f'export_address = 127.0.0.1\nexport_port_max = {base.PORT + 1}'
        configured = self.file(text)
        said = self.check(configured)
        self.assert_only(
            said,
            *(_FIREWALL, base.SUCCESS, 'ip daddr 127.0.0.1 tcp dport'),
            *(
                f'{base.PORT}-{base.PORT + 1} ip saddr',
                'ip saddr != { 127.0.0.0/8 } drop',
            ),
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
