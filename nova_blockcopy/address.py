# SPDX-License-Identifier: Apache-2.0
"""The addresses that a host can have on a network of hosts."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read(value: str) -> Address | None:
    """Read an IP address; None if the value is a name.

    The C library takes "0x0" for an address (inet_aton(3)), oslo.config for a
    name.
    """
    number = value.lower().startswith('0x')
    try:
        address = ipaddress.ip_address(int(value, 16) if number else value)
    except ValueError:
        return None
    return getattr(address, 'ipv4_mapped', None) or address


def is_of_host(address: Address) -> bool:
    """Tell whether one host can have an address, and no program of it all.

    Services that clouds have on each host are at link-local addresses
    (169.254.169.254).
    """
    return not (
        address.is_unspecified
        or address.is_multicast
        or address.is_link_local
        or (address.is_reserved and not address.is_loopback)
    )


def is_loopback(value: str) -> bool:
    """Tell whether an address or name leads back to the host itself."""
    address = read(value)
    if address is None:
        return value.rstrip('.').split('.')[-1].lower() == 'localhost'
    return address.is_loopback


def is_elsewhere(value: str) -> bool:
    """Tell whether an address or name can be that of another host."""
    address = read(value)
    return not is_loopback(value) and (address is None or is_of_host(address))
