# SPDX-License-Identifier: Apache-2.0
"""The options for the exports of this host."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.HostAddressOpt(
        'export_address',
        default='127.0.0.1',
        sample_default='<[libvirt] live_migration_inbound_addr, or my_ip>',
        help="""
Address of this host at which it exports its disks to a destination. Use an
address of the migration network that the destinations can reach. The default
is ``[libvirt] live_migration_inbound_addr``, or else ``[DEFAULT] my_ip``.

With ``export_tls`` the certificate of this host must be for this address. If
the certificate is for a name, set the name here.
""",
    ),
    cfg.BoolOpt(
        'export_tls',
        default=False,
        sample_default='<[libvirt] live_migration_with_native_tls>',
        help="""
Encrypt exports with TLS 1.2 or newer, and serve only the destination of the
migration, by the name in its certificate. Set the same value on both hosts.
The default is ``[libvirt] live_migration_with_native_tls``.

The engine also encrypts the live migrations of memory that it runs itself:
those outside of Nova, and that of a guest that returns to its source.

Related options:

* ``export_tls_dir``: the certificates of the server, and of the client that
  seeds
* ``export_tls_client``: the name in the certificate of the destination
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

A migration is refused if one of these certificates has expired. In the last
30 days of a certificate, each start of nova-compute and each migration writes
a warning to the log.
""",
    ),
    cfg.StrOpt(
        'export_tls_client',
        default='{host}',
        help="""
Common name that the certificate of a destination must have, or this host does
not serve it. ``{host}`` stands for the name of the destination, as
``openstack compute service list`` shows it. ``{short}`` stands for the part of
that name before the first dot. For example, ``{short}.storage.example.org``.

The subject must have this common name once, and no other one. It may have
other parts. Both QEMU and the client that seeds need such a certificate.
""",
    ),
    cfg.BoolOpt(
        'allow_plaintext',
        default=False,
        help="""
Let this host export disks in clear text if ``export_tls`` is off. Any program
that can reach an export can then read and write the disk. Set this option only
if all hosts on the network of the exports are hypervisors. Each such export is
a warning in the log. Seeded data are compared in full, whatever ``verify``
says.
""",
    ),
    cfg.PortOpt(
        'export_port_min',
        default=49216,
        help="""
First TCP port for exports. Each disk uses up to two ports: one for the image
that the guest writes to, and one for the content of the layers below. Set the
same range on all hosts: a destination connects only to ports of its own range.
""",
    ),
    cfg.PortOpt(
        'export_port_max',
        default=49343,
        help='Last TCP port for exports.',
    ),
]
