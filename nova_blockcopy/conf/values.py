# SPDX-License-Identifier: Apache-2.0
"""All options of one host as one frozen value."""

import dataclasses

from nova_blockcopy import bandwidth
from nova_blockcopy import certificate
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.conf import copies


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All options of one host.

    The help of each option gives its unit. ``connection_uri`` is no option.
    """

    block_migration_bandwidth: int = 0
    driver: str = 'libvirt'
    granularity: int = 512
    buf_size: int = 0
    synchronous_writes: bool = False
    mode: model.Mode = model.Mode.SEEDED
    delta_dir: str
    delta_min_free: int = 1024
    delta_max_size: int = 0
    seed_rounds: int = 5
    max_remote_window: float = 1.0
    seed_shortfall_action: str = 'proceed'
    seed_workers: int = 4
    keep_seeded: int = 0
    verify: model.Verify = model.Verify.SAMPLE
    connection_uri: str
    image_dirs: tuple[str, ...]
    journal_dir: str
    metrics_dir: str = ''
    export_address: str
    export_tls: bool = False
    export_tls_dir: str = '/etc/pki/qemu'
    export_tls_client: str = '{host}'
    allow_plaintext: bool = False
    export_port_min: int
    export_port_max: int
    verify_backing: bool = True
    poll_interval: float = 0.5
    call_timeout: int = 60
    stall_timeout: int = 300
    ready_timeout: int = 0
    pivot_timeout: int = 120
    switchover_timeout: int = 1800

    def encryption(
        self, side: model.Side, *, tls: bool, peer: str = ''
    ) -> model.Encryption | None:
        """Describe the encryption of an export; None for clear text.

        :param side: the end of the connection that this host is
        :param tls: whether the export is encrypted. A running export may
            differ from the present ``export_tls``.
        :param peer: the name of the destination, for the end of the server
        """
        if not tls:
            return None
        return model.Encryption(
            directory=self.export_tls_dir,
            side=side,
            client=self.client_name(peer) if peer else '',
        )

    def client_name(self, peer: str) -> str:
        """The common name that a destination's certificate must have.

        :param peer: the name of the destination
        """
        return certificate.common_name(self.export_tls_client, peer)

    def verification(self, *, tls: bool) -> model.Verify:
        """How much of the seeded data is compared.

        Without TLS everything is compared, whatever ``verify`` says, because
        others on the network can alter what is copied.

        :param tls: whether the export is encrypted that the data came from
        """
        return self.verify if tls else model.Verify.FULL

    @property
    def copy(self) -> model.CopySettings:
        """The parameters of the copies; all share the ``bandwidth``."""
        return model.CopySettings(
            granularity=self.granularity,
            buf_size=self.buf_size,
            synchronous_writes=self.synchronous_writes,
            bandwidth=bytes_per_s(self.block_migration_bandwidth),
        )


def bytes_per_s(mib_per_s: int) -> int:
    """Convert a limit from MiB/s into bytes/s.

    :raises InvalidOption: the limit is negative, which virsh would take for a
        very large limit (virsh manual, blockcopy), or too large for libvirt
    """
    if not 0 <= mib_per_s <= copies.MAX_BANDWIDTH:
        raise exception.InvalidOption(
            option='block_migration_bandwidth',
            reason=f'{mib_per_s} MiB/s is out of the range from 0 to '
            f'{copies.MAX_BANDWIDTH}. Set 0 for no limit.',
        )
    return mib_per_s * bandwidth.MIB
