# SPDX-License-Identifier: Apache-2.0
"""The error tree: every error says what is wrong, where, and what to do."""

from typing import Any


class BlockCopyError(Exception):
    """Root of all errors of this project.

    A subclass gives ``msg_fmt``; its keywords are given at raise time.
    """

    msg_fmt = '%(reason)s'

    def __init__(self, message: str | None = None, **kwargs: Any) -> None:
        if message is None:
            message = self.msg_fmt % kwargs
        super().__init__(message)


class Refused(BlockCopyError):
    """What was asked for was refused before anything was changed."""


class InvalidOption(Refused):
    """A configured or given value is out of its bounds."""

    msg_fmt = 'Option %(option)s: %(reason)s'


class UnknownDriver(InvalidOption):
    msg_fmt = (
        'Copy driver "%(name)s" cannot be loaded (%(reason)s); installed '
        'drivers: %(installed)s. Set [blockcopy] driver to one of them.'
    )


class GuestNotFound(Refused):
    msg_fmt = 'No guest "%(guest)s" is defined on %(host)s.'


class GuestNotRunning(Refused):
    msg_fmt = (
        'Guest "%(guest)s" is not running on %(host)s; only a running guest '
        'can be migrated live. Start it, or move it while it is off.'
    )


class GuestExists(Refused):
    msg_fmt = (
        'A guest "%(guest)s" exists on %(host)s already; remove that '
        'definition, or choose another destination.'
    )


class DiskNotFound(Refused):
    msg_fmt = (
        'Guest "%(guest)s" has no disk "%(disk)s"; its disks are: %(disks)s.'
    )


class DiskRefused(Refused):
    msg_fmt = 'Disk %(disk)s of guest "%(guest)s" cannot be moved: %(reason)s'


class BaseRefused(Refused):
    msg_fmt = 'Base %(path)s for disk %(disk)s cannot be used: %(reason)s'


class NoRoom(Refused):
    msg_fmt = (
        'There is no room for deltas in [blockcopy] delta_dir '
        '%(directory)s: %(reason)s'
    )


class JobRunning(Refused):
    msg_fmt = (
        'Disk %(disk)s of guest "%(guest)s" has a block job already; wait '
        'until it ends, or abort it with "virsh blockjob".'
    )


class UnfinishedMigration(Refused):
    msg_fmt = (
        'The journal %(path)s on %(host)s tells of an unfinished migration '
        'of guest "%(guest)s" in state %(state)s; settle that one first.'
    )


class VersionTooOld(Refused):
    msg_fmt = (
        '%(program)s %(version)s on %(host)s is too old: %(minimum)s or '
        'newer is needed.'
    )


class PlaintextRefused(Refused):
    msg_fmt = (
        'Disks that leave %(host)s would travel in clear text. Set '
        '[blockcopy] export_tls there, which [libvirt] '
        'live_migration_with_native_tls does in Nova; or, if only '
        'hypervisors are on its network, allow_plaintext.'
    )


class EncryptionDiffers(Refused):
    msg_fmt = (
        '[blockcopy] export_tls is %(ours)s on %(host)s and %(theirs)s on '
        '%(peer)s; set it alike on both.'
    )


class CertificateError(Refused):
    msg_fmt = (
        '%(host)s cannot export by TLS: %(path)s cannot be read (%(reason)s). '
        'See [blockcopy] export_tls_dir.'
    )


class DestinationUnreachable(Refused):
    msg_fmt = (
        'The destination %(uri)s cannot be reached from %(host)s: %(reason)s'
    )


class ImageError(BlockCopyError):
    """An image on this host cannot be read or prepared."""

    msg_fmt = 'Image %(path)s: %(reason)s'


class CannotFreeze(BlockCopyError):
    """libvirt does not give a guest the deltas that seeding needs."""

    msg_fmt = 'The disks of guest "%(guest)s" cannot be frozen: %(reason)s'


class HelperError(BlockCopyError):
    msg_fmt = (
        'The helper that runs as root cannot be started (%(reason)s); see '
        'sudoers and the filters of nova-rootwrap, or set helper_command in '
        '[%(section)s].'
    )


class HypervisorError(BlockCopyError):
    """libvirt refused or failed a call that is not a block job."""

    msg_fmt = 'libvirt on %(host)s failed to %(action)s: %(reason)s'


class Disconnected(HypervisorError):
    """The connection to libvirt is lost; it may be starting again."""


class DriverError(BlockCopyError):
    """A copy driver could not do what was asked of it."""

    msg_fmt = 'Failed to %(action)s for disk %(disk)s: %(reason)s'


class DriverTimeout(DriverError):
    msg_fmt = (
        'No answer within %(timeout)s s to: %(action)s for disk %(disk)s.'
    )


class NotReady(DriverError):
    """A pivot came before the copy was in its mirroring phase.

    libvirt's ``VIR_ERR_BLOCK_COPY_ACTIVE``; the job goes on.
    """

    msg_fmt = 'The copy of disk %(disk)s is not ready for its pivot yet.'


class JobFailed(BlockCopyError):
    """A copy ended without its pivot; the guest still uses the export."""

    msg_fmt = 'The copy of disk %(disk)s failed: %(reason)s'


class SeedFailed(BlockCopyError):
    """A base could not be filled; the guest still runs on the source."""

    msg_fmt = 'Seeding the base of disk %(disk)s failed: %(reason)s'


class VerifyFailed(BlockCopyError):
    msg_fmt = (
        'Disk %(disk)s arrived damaged: its base differs from it within the '
        '%(length)s bytes at %(offset)s. Check the storage and the network '
        'of both hosts.'
    )


class ExportError(BlockCopyError):
    msg_fmt = 'The export of %(path)s failed: %(reason)s'


class SwitchoverError(BlockCopyError):
    msg_fmt = 'The switchover of guest "%(guest)s" failed: %(reason)s'


class JournalError(BlockCopyError):
    msg_fmt = 'Journal %(path)s: %(reason)s'


class InvalidTransition(BlockCopyError):
    msg_fmt = 'A migration cannot go from state %(old)s to %(new)s.'


class PeerError(BlockCopyError):
    """The other host failed in a way that has no class of its own here."""

    msg_fmt = 'The peer failed to %(operation)s: %(reason)s'


class NoPeer(PeerError):
    """The other host does not have this software."""

    msg_fmt = (
        'The peer failed to %(operation)s: %(host)s does not run '
        'nova-blockcopy.'
    )


class TooLate(BlockCopyError):
    """The pivot has happened: the source's disks are old from there on."""

    msg_fmt = 'The migration cannot be taken back: %(reason)s'


class Aborted(BlockCopyError):
    """An operator asked for the end of the migration."""

    msg_fmt = 'The migration of guest "%(guest)s" was aborted on request.'


class MigrationUndone(BlockCopyError):
    """The migration failed or was aborted; everything was put back.

    The guest runs on the source, on its own disks. ``__cause__`` is why.
    """

    msg_fmt = (
        'Guest "%(guest)s" stays on its source, nothing was lost: %(reason)s'
    )


class GuestEnded(MigrationUndone):
    """The migration was taken back, but the guest had ended.

    Its disks on the source are complete, because each write that it knows to
    be done had reached them.
    """

    msg_fmt = (
        '%(obituary)s Its disks on %(home)s have all that it had written: '
        'start it there again. Its migration had stopped with: %(reason)s'
    )


class MigrationStuck(BlockCopyError):
    """The migration can neither go on nor be undone without a person.

    The journals on both hosts stay; no image was removed.
    """

    msg_fmt = (
        'The migration of guest "%(guest)s" needs attention in state '
        '%(state)s: %(reason)s Nothing was removed; see the journal %(path)s.'
    )


def from_wire(name: str, message: str) -> BlockCopyError:
    """Make again an error that crossed the peer channel as two strings."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, BlockCopyError):
        return kind(message)
    return PeerError(message)
