# SPDX-License-Identifier: Apache-2.0
"""The files of this host for exports with TLS, looked at before their use."""

import os
import shutil
import ssl
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from nova_blockcopy import certificate
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import access
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement
from nova_blockcopy.runtime import log as logging
from nova_blockcopy.runtime import privsep

LOG = logging.getLogger(__name__)

#: Prints the times, and each part of the subject on a line of its own.
_SHOW = (
    *('openssl', 'x509', '-noout', '-startdate', '-enddate'),
    *('-ext', 'subjectAltName'),
    *('-subject', '-nameopt', 'sep_multiline,sname,utf8,esc_ctrl', '-in'),
)
_KINDS = ('cert', 'key')
#: What cannot be done without the certificates of each side.
HINDERED = {
    model.Side.SERVER: 'No disk can leave this host',
    model.Side.CLIENT: 'No disk can be seeded on this host',
}
#: The files in the directory of the certificates, as QEMU names them.
_NAMES = frozenset(
    (
        'ca-cert.pem',
        *(f'{side}-{kind}.pem' for side in HINDERED for kind in _KINDS),
    )
)
#: Seconds that openssl may take.
_TIMEOUT = 10


def check(host: str, settings: conf.Settings, side: model.Side) -> None:
    """Check this host's certificates and its key before a migration.

    The log has the remarks of :func:`examine`.

    :param host: this host's name
    :param side: the end of the exports that this host is
    :raises CertificateError: a file cannot be read
    :raises CertificateUnusable: a certificate is none, or is not valid now
    """
    for remark in examine(host, settings, side):
        LOG.warning('%s', remark)


def report(host: str, settings: conf.Settings) -> None:
    """Log what is wrong with the certificates, at the start of nova-compute.

    :param host: this host's name
    """
    for side, hindered in HINDERED.items():
        try:
            check(host, settings, side)
        except (
            exception.CertificateError,
            exception.CertificateUnusable,
            exception.HelperError,
        ) as e:
            LOG.error('%s: %s', hindered, e)


def examine(
    host: str, settings: conf.Settings, side: model.Side
) -> tuple[str, ...]:
    """Look at this host's certificates and its key, if it uses TLS.

    Of a file with several certificates, the first is looked at.

    :param host: this host's name
    :param side: the end of the exports that this host is
    :returns: what will soon be wrong, or may be
    :raises CertificateError: a file cannot be read
    :raises CertificateUnusable: a certificate is none, or is not valid now
    """
    encryption = settings.encryption(side, tls=settings.export_tls)
    if encryption is None:
        return ()
    authority, own, key = (
        os.path.join(encryption.directory, name)
        for name in ('ca-cert.pem', f'{side}-cert.pem', f'{side}-key.pem')
    )
    for path in (authority, own, key):
        _check_readable(host, path)
    packed = {path: _look(host, path) for path in (authority, own)}
    if None in packed.values():
        return (
            'Nobody checks whether certificates have expired, because the '
            'program openssl is missing. Install it.',
        )
    known = {
        path: wire.unpack(value, certificate.Certificate)
        for path, value in packed.items()
    }
    now_s = time.time()
    for path, found in known.items():
        reason = certificate.fault(found, now_s)
        if reason is not None:
            raise exception.CertificateUnusable(
                host=host, path=path, reason=reason
            )
    if side is model.Side.SERVER:
        names = _addressed(own, known[own], settings.export_address)
    else:
        wanted = settings.client_name(host)
        names = _named(own, known[own].common_names, wanted)
    return (*_ending(known, now_s), *names)


def _ending(
    known: Mapping[str, certificate.Certificate], now_s: float
) -> Iterator[str]:
    for path, found in known.items():
        left = certificate.days_left(found, now_s)
        if left < certificate.WARNING_DAYS:
            yield (
                f'The certificate {path} expires in {left} days, on '
                f'{found.ends}. Renew it, or no disk can move afterwards.'
            )


def _addressed(
    path: str, known: certificate.Certificate, address: str
) -> Iterator[str]:
    if not certificate.is_for(known, address):
        has = (*known.addresses, *known.names) or known.common_names
        yield (
            f'The certificate {path} is for "{", ".join(has)}", but '
            f'destinations connect to {address}. Make a certificate with this '
            f'alternative name, or set [blockcopy] export_address.'
        )


def _named(path: str, names: Sequence[str], wanted: str) -> Iterator[str]:
    if tuple(names) != (wanted,):
        yield (
            f'The certificate {path} is for "{", ".join(names)}", but the '
            f'exports of other hosts serve this host only as "{wanted}". Make '
            f'another certificate, or set [blockcopy] export_tls_client on '
            f'all hosts.'
        )


@privsep.entrypoint
def _check_readable(host: str, path: str) -> None:
    try:
        _prove(path)
    except exception.ForbiddenPath as e:
        raise exception.CertificateError(host=host, path=path, reason=e) from e
    except OSError as e:
        raise exception.CertificateError(
            host=host, path=path, reason=e.strerror
        ) from e


def _prove(path: str) -> None:
    """Pass if a path is that of a certificate or key, and can be read.

    A link is followed. Only root can make one there.

    :raises ForbiddenPath: it is another path
    :raises OSError: the file cannot be read
    """
    directory, name = os.path.split(path)
    access.certificates(directory)
    if name not in _NAMES:
        raise exception.ForbiddenPath(
            path=path, reason='it is no name of a certificate or a key.'
        )
    access.opened_below(path, '/').close()


@privsep.entrypoint
def _look(host: str, path: str) -> Any:
    """Return a packed :class:`certificate.Certificate`.

    :returns: None if openssl is not installed; QEMU looks later then
    :raises CertificateUnusable: the file holds no certificate
    """
    _check_readable(host, path)
    if shutil.which(_SHOW[0]) is None:
        return None
    try:
        printed = command.run(
            *(*_SHOW, path),
            confined=confinement.of(read=[path]),
            timeout=_TIMEOUT,
        )
        return wire.pack(_parsed(printed))
    except (command.CommandFailed, KeyError, ValueError) as e:
        raise exception.CertificateUnusable(
            host=host,
            path=path,
            reason=f'openssl cannot read it ({str(e).splitlines()[0]}). Put '
            f'a certificate in the PEM format there.',
        ) from e


def _parsed(text: str) -> certificate.Certificate:
    """Read what openssl shows of a certificate.

    :raises KeyError: a line is missing
    :raises ValueError: a time is in another format
    """
    stripped = [line.strip() for line in text.splitlines()]
    lines = [line.partition('=') for line in stripped]
    times = {
        key: value for key, _equals, value in lines if key.startswith('not')
    }
    begins, ends = times['notBefore'], times['notAfter']
    return certificate.Certificate(
        begins_s=ssl.cert_time_to_seconds(begins),
        ends_s=ssl.cert_time_to_seconds(ends),
        begins=begins,
        ends=ends,
        common_names=tuple(
            value for key, _equals, value in lines if key == 'CN'
        ),
        addresses=tuple(_alternative('IP Address:', stripped)),
        names=tuple(_alternative('DNS:', stripped)),
    )


def _alternative(kind: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        for each in line.split(', '):
            if each.startswith(kind):
                yield each.removeprefix(kind)
