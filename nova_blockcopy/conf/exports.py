# SPDX-License-Identifier: Apache-2.0
"""The options for the exports of this host."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.HostAddressOpt(
        'export_address',
        default='127.0.0.1',
        help="""
Address of this host at which it exports its disks to a destination. Use an
address of the migration network that the destinations can reach. In
nova-compute the default is ``[libvirt] live_migration_inbound_addr``, or else
``[DEFAULT] my_ip``.

With ``export_tls`` the certificate of this host must be for this address. If
the certificate is for a name, set the name here.
""",
    ),
    cfg.BoolOpt(
        'export_tls',
        default=False,
        help="""
Encrypt exports with TLS, and serve only clients that have a certificate. Set
the same value on both hosts. In nova-compute the default is ``[libvirt]
live_migration_with_native_tls``.

The engine also encrypts the live migrations of memory that it runs itself:
those outside of Nova, and that of a guest that returns to its source.

Related options:

* ``export_tls_dir``: the certificates of the server, and of the client that
  seeds
* ``default_tls_x509_cert_dir`` or ``nbd_tls_x509_cert_dir`` in the
  ``qemu.conf`` of libvirt: the certificates of the guest's QEMU as a client
* ``allow_plaintext``: for hosts without TLS
""",
    ),
    cfg.StrOpt(
        'export_tls_dir',
        default='/etc/pki/qemu',
        help="""
Directory of the certificates and keys for exports. The source needs
``ca-cert.pem``, ``server-cert.pem`` and ``server-key.pem``. In seeded mode the
destination needs ``ca-cert.pem``, ``client-cert.pem`` and ``client-key.pem``.
The source serves every client that has a certificate of this authority.
""",
    ),
    cfg.BoolOpt(
        'allow_plaintext',
        default=False,
        help="""
Let this host export disks in clear text if ``export_tls`` is off. Any program
that can reach an export can then read and write the disk. Set this option only
if all hosts on the network of the exports are hypervisors.
""",
    ),
    cfg.PortOpt(
        'export_port_min',
        default=49216,
        help="""
First TCP port for exports. Each disk uses up to two ports: one for the image
that the guest writes to, and one for the content of the layers below.
""",
    ),
    cfg.PortOpt(
        'export_port_max',
        default=49343,
        help='Last TCP port for exports.',
    ),
]
