# SPDX-License-Identifier: Apache-2.0
"""How this host exports its disks, and to whom."""

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.HostAddressOpt(
        'export_address',
        default='127.0.0.1',
        help="""
Address of this host at which it exports its disks to the destination. It
must be reachable from there; use an address of the migration network. With
``export_tls`` this host's certificate must be for this address, so it may be
a name.
""",
    ),
    cfg.BoolOpt(
        'export_tls',
        default=False,
        help="""
Encrypt exports by TLS, and serve only clients that have a certificate. A live
migration by the engine itself, and that of a guest that goes back to its
source, is encrypted too. In nova-compute the default is ``[libvirt]
live_migration_with_native_tls``. It must be the same on both hosts.

Related options:

* ``export_tls_dir``, for the server's side
* ``default_tls_x509_cert_dir`` or ``nbd_tls_x509_cert_dir`` in the
  ``qemu.conf`` of libvirt, for the client's side
* ``allow_plaintext``, for hosts without TLS
""",
    ),
    cfg.StrOpt(
        'export_tls_dir',
        default='/etc/pki/qemu',
        help="""
Directory of the certificates that exports use: ``ca-cert.pem``,
``server-cert.pem`` and ``server-key.pem``; in seeded mode also, on the
destination, ``client-cert.pem`` and ``client-key.pem``. Every client with a
certificate of that authority is served.
""",
    ),
    cfg.BoolOpt(
        'allow_plaintext',
        default=False,
        help="""
Let this host export disks in clear text if ``export_tls`` is off. Whoever can
reach an export then can read and write the disk: keep its network to
hypervisors.
""",
    ),
    cfg.PortOpt(
        'export_port_min',
        default=49216,
        help="""
First TCP port to export disks at. Each disk takes up to two ports: one for the
image that the guest writes to, and one for the content of the layers below it.
""",
    ),
    cfg.PortOpt(
        'export_port_max',
        default=49343,
        help='Last TCP port to export disks at.',
    ),
]
