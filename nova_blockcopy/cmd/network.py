# SPDX-License-Identifier: Apache-2.0
"""Whether the exports are safe on their network."""

import dataclasses
import ipaddress
import os
from collections.abc import Mapping

import psutil
from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import certificates
from nova_blockcopy.host import qemu_conf

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: For an address of which the network is not known.
_HYPERVISORS = 'HYPERVISORS'
#: libvirt's directories if its qemu.conf names none.
_NBD_PKI, _QEMU_PKI = '/etc/pki/libvirt-nbd', '/etc/pki/qemu'


def certificates_of(host: str, settings: conf.Settings) -> upgradecheck.Result:
    """Check the certificates of this host.

    :param host: the name of this host, as Nova knows it
    :raises HelperError: the helper cannot be started
    """
    if not settings.export_tls:
        return answers.success('Without export_tls there are none.')
    return _examined(host, settings, certificates.HINDERED)


def certificates_of_qemu(
    host: str, settings: conf.Settings, found: Mapping[str, str] | None
) -> upgradecheck.Result:
    """Check the certificates by which QEMU connects to exports.

    :param host: the name of this host, as Nova knows it
    :param found: the settings of ``qemu.conf``; None if it is not here
    :raises HelperError: the helper cannot be started
    """
    if not settings.export_tls:
        return answers.success('Without export_tls there are none.')
    if found is None:
        return answers.warning(
            f'This was not checked, because {qemu_conf.PATH} is not here. '
            f'Look at nbd_tls_x509_cert_dir and default_tls_x509_cert_dir '
            f'where libvirt runs.'
        )
    return _examined(
        host,
        dataclasses.replace(settings, export_tls_dir=directory_of_qemu(found)),
        {model.Side.CLIENT: 'No guest can use its disks from here'},
    )


def directory_of_qemu(found: Mapping[str, str]) -> str:
    """Return the directory in which QEMU looks for a client's certificate.

    See virQEMUDriverConfigSetDefaults in libvirt's src/qemu/qemu_conf.c.

    :param found: the settings of ``qemu.conf``
    """
    own = found.get('nbd_tls_x509_cert_dir')
    if own or os.path.isdir(_NBD_PKI):
        return own or _NBD_PKI
    return found.get('default_tls_x509_cert_dir') or _QEMU_PKI


def _examined(
    host: str, settings: conf.Settings, hindered: Mapping[model.Side, str]
) -> upgradecheck.Result:
    faults: list[str] = []
    remarks: list[str] = []
    for side, consequence in hindered.items():
        try:
            remarks += certificates.examine(host, settings, side)
        except (
            exception.CertificateError,
            exception.CertificateUnusable,
        ) as e:
            faults.append(f'{consequence}: {e}')
    if faults:
        return answers.failure(' '.join(faults))
    if remarks:
        return answers.warning(' '.join(dict.fromkeys(remarks)))
    return answers.success()


def look(address: str) -> Network | None:
    """Find the network of an address of this host; None for others."""
    for found in psutil.net_if_addrs().values():
        for each in found:
            if each.address == address and each.netmask:
                return _network(address, each.netmask)
    return None


def _network(address: str, netmask: str) -> Network:
    # psutil writes masks of both families as addresses
    bits = int(ipaddress.ip_address(netmask)).bit_count()
    return ipaddress.ip_network(f'{address}/{bits}', strict=False)


def firewall(
    settings: conf.Settings, network: Network | None
) -> upgradecheck.Result:
    """Show a rule that lets only hypervisors connect to the exports. Pure.

    :param network: that of ``export_address``; None if it is not known
    """
    others = _HYPERVISORS if network is None else str(network)
    return answers.success(
        f'This is not checked. To let only hypervisors connect to the '
        f'exports, put their addresses in place of {others} into this rule, '
        f'and load it with "nft -f": {rule(settings, others)}'
    )


def rule(settings: conf.Settings, hypervisors: str) -> str:
    """Write a table of nftables on one line. Pure.

    A packet that one table drops is lost, whatever other tables say.

    :param hypervisors: addresses and networks, separated by commas
    """
    family, here = 'ip', ''
    try:
        address = ipaddress.ip_address(settings.export_address)
    except ValueError:  # a name
        pass
    else:
        family = 'ip' if address.version == 4 else 'ip6'
        here = f'{family} daddr {address} '
    ports = f'{settings.export_port_min}-{settings.export_port_max}'
    return (
        f'table inet nova_blockcopy {{ chain exports {{ type filter hook '
        f'input priority filter; {here}tcp dport {ports} {family} saddr != '
        f'{{ {hypervisors} }} drop; }}; }}'
    )
