# SPDX-License-Identifier: Apache-2.0
"""Certificates of the exports: whom they name."""

import re

#: No part of a name or address needs other characters. GnuTLS escapes none of
#: these in a subject, and none stands for others in a pattern of QEMU.
_PLAIN = re.compile(r'[A-Za-z0-9_.:-]+')


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
