# SPDX-License-Identifier: Apache-2.0
"""TLS certificates of the hosts, signed by the lab's own authority."""

import pathlib
import shutil
import subprocess

#: Of less than a month, the engine would warn.
_DAYS = 60
#: Of a key, which QEMU reads through its group, as on real hosts.
_MODE = 0o640
#: Without this, openssl adds extensions of its own.
_CONFIG = '[req]\ndistinguished_name = dn\n[dn]\n'


class Authority:
    """Signs the certificates of hosts.

    :param directory: for the authority's files; created if it does not exist
    :param days: for which all certificates are valid
    """

    def __init__(self, directory: pathlib.Path, days: int = _DAYS) -> None:
        self._directory = directory
        self._days = str(days)
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
        self,
        directory: pathlib.Path,
        name: str,
        address: str,
        *,
        subject: str = '',
    ) -> None:
        """Make the certificates that a host's QEMU needs in both roles.

        The group of the files may read the keys.

        :param directory: for the files; created if it does not exist
        :param name: the host's name
        :param address: the host's IP address
        :param subject: as openssl takes it; by default the name alone
        """
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(self._certificate, directory)
        key, certificate = (
            directory / f'server-{part}.pem' for part in ('key', 'cert')
        )
        self._request(
            *('-subj', subject or f'/CN={name}', '-multivalue-rdn'),
            *('-keyout', key, '-out', certificate),
            *('-CA', self._certificate, '-CAkey', self._key),
            *('-addext', f'subjectAltName=IP:{address}'),
            *('-addext', 'basicConstraints=critical,CA:FALSE'),
            *('-addext', 'keyUsage=critical,digitalSignature'),
            *('-addext', 'extendedKeyUsage=serverAuth,clientAuth'),
        )
        key.chmod(_MODE)
        shutil.copy(key, directory / 'client-key.pem')
        shutil.copy(certificate, directory / 'client-cert.pem')

    def _request(self, *arguments: str | pathlib.Path) -> None:
        subprocess.run(
            [
                *('openssl', 'req', '-x509', '-config', self._config),
                *('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
                *('-noenc', '-days', self._days, *arguments),
            ],
            check=True,
            capture_output=True,
        )
