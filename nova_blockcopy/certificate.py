# SPDX-License-Identifier: Apache-2.0
"""Certificates of the exports: whom they name, and how long they are valid."""

import dataclasses
import ipaddress
import re

_DAY_S = 24 * 60 * 60
#: A certificate that ends within so many days is worth a warning.
WARNING_DAYS = 30
#: No part of a name or address needs other characters. GnuTLS escapes none of
#: these in a subject, and none stands for others in a pattern of QEMU.
_PLAIN = re.compile(r'[A-Za-z0-9_.:-]+')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says about itself.

    ``begins_s`` and ``ends_s`` are seconds since the epoch. ``begins`` and
    ``ends`` are the same times for people. ``common_names`` are those of the
    subject. ``addresses`` and ``names`` are the alternative names.
    """

    begins_s: int
    ends_s: int
    begins: str
    ends: str
    common_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def is_for(known: Certificate, address: str) -> bool:
    """Tell whether a certificate is for the address that clients connect to.

    The rules are those of GnuTLS, which QEMU uses
    (``gnutls_x509_crt_check_hostname2`` in its lib/x509/hostname-verify.c).

    :param address: an IP address or a name
    """
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        pass
    else:
        if any(wanted == ipaddress.ip_address(it) for it in known.addresses):
            return True
    # the common name counts only without alternative names
    names = known.names or known.common_names
    return any(_matches(name, address) for name in names)


def _matches(name: str, address: str) -> bool:
    name, address = name.lower(), address.lower()
    label, _dot, domain = name.partition('.')
    if label == '*' and domain:
        return address.partition('.')[2] == domain
    return name == address


def fault(known: Certificate, now_s: float) -> str | None:
    """Say why a certificate cannot be used now; None if it can.

    :param now_s: seconds since the epoch
    """
    if now_s > known.ends_s:
        return f'it has expired on {known.ends}. Renew it.'
    if now_s < known.begins_s:
        return (
            f'it is not valid before {known.begins}. Check the clock of the '
            f'host, or renew the certificate.'
        )
    return None


def days_left(known: Certificate, now_s: float) -> int:
    """Return the whole days for which a certificate is still valid.

    :param now_s: seconds since the epoch
    """
    return int((known.ends_s - now_s) // _DAY_S)


def is_plain(name: str) -> bool:
    """Tell whether a name can be looked for in the subject of a certificate.

    See :func:`qemu.authorization`.
    """
    return _PLAIN.fullmatch(name) is not None


def common_name(template: str, host: str) -> str:
    """Return the common name that a host's certificate must have.

    :param template: ``{host}`` stands for the name of the host, ``{short}``
        for the part of this name before the first dot
    :param host: name or address; the parts of an address stay together
    """
    is_address = re.fullmatch(r'[0-9.]+|.*:.*', host) is not None
    short = host if is_address else host.partition('.')[0]
    return template.replace('{host}', host).replace('{short}', short)
