# SPDX-License-Identifier: Apache-2.0
"""Certificates of the hosts, by an authority of the lab's own."""

import pathlib
import shutil
import subprocess

_DAYS = '2'
#: No extensions but those that are asked for.
_CONFIG = '[req]\ndistinguished_name = dn\n[dn]\n'


class Authority:
    """Signs certificates.

    :param directory: for its own files; made if it is not there
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._certificate = directory / 'ca-cert.pem'
        self._key = directory / 'ca-key.pem'
        self._config = directory / 'openssl.cnf'
        if directory.exists():
            return
        directory.mkdir(parents=True)
        self._config.write_text(_CONFIG)
        self._request(
            *('-subj', '/CN=lab', '-keyout', self._key),
            *('-out', self._certificate),
            *('-addext', 'basicConstraints=critical,CA:TRUE'),
            *('-addext', 'keyUsage=critical,keyCertSign'),
        )

    def certify(
        self, directory: pathlib.Path, name: str, address: str
    ) -> None:
        """Make what a host's QEMU looks for, as a server and as a client.

        :param directory: for the files; made if it is not there
        """
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._certificate, directory)
        key, certificate = (
            directory / f'server-{what}.pem' for what in ('key', 'cert')
        )
        self._request(
            *('-subj', f'/CN={name}', '-keyout', key, '-out', certificate),
            *('-CA', self._certificate, '-CAkey', self._key),
            *('-addext', f'subjectAltName=IP:{address}'),
            *('-addext', 'basicConstraints=critical,CA:FALSE'),
            *('-addext', 'keyUsage=critical,digitalSignature'),
            *('-addext', 'extendedKeyUsage=serverAuth,clientAuth'),
        )
        shutil.copy(key, directory / 'client-key.pem')
        shutil.copy(certificate, directory / 'client-cert.pem')

    def _request(self, *arguments: str | pathlib.Path) -> None:
        subprocess.run(
            [
                *('openssl', 'req', '-x509', '-config', self._config),
                *('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
                *('-noenc', '-days', _DAYS, *arguments),
            ],
            check=True,
            capture_output=True,
        )
