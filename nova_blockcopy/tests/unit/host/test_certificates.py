# SPDX-License-Identifier: Apache-2.0
"""Real certificates, at different times."""

import pathlib
import time

import ddt
import fixtures

from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import certificates
from nova_blockcopy.tests.lab import certificates as lab
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples

DAY_S = 24 * 60 * 60
#: The days for which the certificates are valid.
VALID = 2


@ddt.ddt
class TestCertificates(base.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.authority = lab.Authority(self.directory / 'authority', VALID)
        self.place = self.directory / 'pki, qemu'
        self.authority.certify(self.place, 'host-b', '127.0.0.1')

    def check(self, side=model.Side.CLIENT, **options):
        certificates.check('host-b', self.settings(**options), side)

    def settings(self, **options):
        values = {
            'export_tls': True,
            'export_tls_dir': str(self.place),
            **options,
        }
        return samples.settings(self.directory, **values)

    def pass_days(self, days):
        moment = time.time() + days * DAY_S
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{certificates.__name__}.time.time', lambda: moment
            )
        )

    def unusable(self, *arguments):
        return str(
            self.assertRaises(
                exception.CertificateUnusable, self.check, *arguments
            )
        )

    @ddt.data(*model.Side)
    def test_one_that_ends_soon_can_be_used(self, side):
        self.check(side)
        self.assertIn(f'{side}-cert.pem expires in 1 days', self.log.output)
        self.assertIn('ca-cert.pem expires in 1 days', self.log.output)

    def test_one_that_has_time_is_not_worth_a_word(self):
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova_blockcopy.certificate.WARNING_DAYS', VALID - 1
            )
        )
        self.check()
        self.assertEqual('', self.log.output)

    @ddt.data(*model.Side)
    def test_one_that_has_expired(self, side):
        self.pass_days(VALID + 1)
        (self.place / 'ca-cert.pem').write_text(_lasting(self.directory))
        said = self.unusable(side)
        self.assertIn(f'{self.place}/{side}-cert.pem on host-b', said)
        self.assertIn('has expired on', said)

    def test_an_authority_that_has_expired(self):
        self.pass_days(VALID + 1)
        self.assertIn('ca-cert.pem', self.unusable())

    def test_one_of_the_future(self):
        self.pass_days(-1)
        self.assertIn('is not valid before', self.unusable())

    def test_a_file_that_is_no_certificate(self):
        (self.place / 'client-cert.pem').write_text('nonsense')
        said = self.unusable()
        self.assertIn('client-cert.pem', said)
        self.assertIn('PEM', said)

    def test_a_file_that_is_missing(self):
        (self.place / 'client-key.pem').unlink()
        error = self.assertRaises(exception.CertificateError, self.check)
        self.assertIn('client-key.pem', str(error))

    def test_a_name_that_sources_will_not_serve(self):
        self.check()
        self.assertNotIn('serve this host only', self.log.output)
        self.check(export_tls_client='{host}.example.org')
        self.assertIn(
            'is for "host-b", but the exports of other hosts serve this host '
            'only as "host-b.example.org"',
            self.log.output,
        )

    @ddt.data('/CN=host-b/O=x', '/C=DE/O=a, CN=b/CN=host-b/OU=c')
    def test_a_name_with_other_parts(self, subject):
        self.authority.certify(
            self.place, 'host-b', '127.0.0.1', subject=subject
        )
        self.check()
        self.assertNotIn('serve this host only', self.log.output)

    def test_without_openssl(self):
        self.useFixture(fixtures.EnvironmentVariable('PATH', '/nowhere'))
        self.check()
        self.assertIn('openssl is missing', self.log.output)

    def test_clear_text_needs_none(self):
        self.pass_days(VALID + 1)
        self.check(export_tls=False)

    def test_a_start_goes_on_and_tells(self):
        self.pass_days(VALID + 1)
        (self.place / 'client-key.pem').unlink()
        certificates.report('host-b', self.settings())
        self.assertIn('No disk can leave this host: ', self.log.output)
        self.assertIn('No disk can be seeded on this host', self.log.output)
        self.assertIn('has expired', self.log.output)


def _lasting(directory: pathlib.Path) -> str:
    """An authority that outlives the other ones."""
    path = directory / 'lasting'
    lab.Authority(path, days=10)
    return (path / 'ca-cert.pem').read_text()
