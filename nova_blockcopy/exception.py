# SPDX-License-Identifier: Apache-2.0
"""The errors of the engine, all derived from :class:`BlockCopyError`.

Each message names the problem, its place and, where one is known, a remedy.
"""

from typing import Any


class BlockCopyError(Exception):
    """The root of the error tree.

    A subclass sets ``msg_fmt``. The code that raises the error passes a value
    for each keyword of ``msg_fmt``, or the complete message.

    :param message: the complete message, which is not formatted
    :param kwargs: the values for ``msg_fmt``
    """

    msg_fmt = '%(reason)s'
    #: The values that another sentence follows. Those of other programs often
    #: lack the full stop.
    sentences: tuple[str, ...] = ()

    def __init__(self, message: str | None = None, **kwargs: Any) -> None:
        if message is None:
            ended = {name: _sentence(kwargs[name]) for name in self.sentences}
            message = self.msg_fmt % {**kwargs, **ended}
        super().__init__(message)


class Refused(BlockCopyError):
    """The engine refused a request before it changed anything."""


class InvalidOption(Refused):
    """An option does not exist, or its value is out of its bounds."""

    msg_fmt = 'Option %(option)s: %(reason)s'


class UnknownDriver(InvalidOption):
    msg_fmt = (
        'Copy driver "%(name)s" cannot be loaded (%(reason)s); installed '
        'drivers: %(installed)s. Set [blockcopy] driver to one of them.'
    )


class GuestNotFound(Refused):
    msg_fmt = (
        'No guest "%(guest)s" is defined on %(host)s. Look for it there '
        'with "virsh list --all --uuid --name".'
    )


class GuestNotRunning(Refused):
    msg_fmt = (
        'Guest "%(guest)s" on %(host)s is %(power)s. Only a guest that runs, '
        'or that its owner has paused, can be migrated live: start or wake '
        'the guest, or use a cold migration.'
    )


class GuestExists(Refused):
    msg_fmt = (
        'A guest "%(guest)s" already exists on %(host)s. Undefine that '
        'guest, or choose another destination.'
    )


class DiskNotFound(Refused):
    msg_fmt = (
        'Guest "%(guest)s" has no disk "%(disk)s". Name one of its disks: '
        '%(disks)s.'
    )


class DiskRefused(Refused):
    msg_fmt = 'Disk %(disk)s of guest "%(guest)s" cannot be moved: %(reason)s'


class BaseRefused(Refused):
    msg_fmt = 'Base %(path)s for disk %(disk)s cannot be used: %(reason)s'


class UsersUnseen(Refused):
    """A host cannot tell whether a guest uses an image."""

    msg_fmt = 'Host %(host)s cannot receive disks on volumes: %(reason)s'


class NoRoom(Refused):
    msg_fmt = (
        'The directory %(directory)s has no room for the deltas of a '
        'migration: %(reason)s'
    )


class DeltasTooLarge(BlockCopyError):
    """The deltas of a migration are about to reach their limit."""

    msg_fmt = (
        'The deltas of the migration have %(held)s MiB and grow by %(rate)s '
        'MiB/s, and [blockcopy] delta_max_size allows %(limit)s MiB. Migrate '
        'the guest when it writes less, or raise delta_max_size or '
        'block_migration_bandwidth.'
    )


class DiskGone(BlockCopyError):
    """A disk that moves is no longer a disk of the guest."""

    msg_fmt = (
        'Guest "%(guest)s" no longer has disk %(disk)s: another program has '
        'detached the disk. Let that program wait, and migrate again.'
    )


class ForeignJob(BlockCopyError):
    """A disk has a block job that the engine did not start."""

    msg_fmt = (
        'Disk %(disk)s of guest "%(guest)s" on %(host)s has a block job '
        '(%(kind)s) of another program. nova-blockcopy leaves that job alone. '
        'Wait until the job ends, or abort it with "virsh blockjob %(guest)s '
        '%(disk)s --abort".'
    )


class Disturbed(BlockCopyError):
    """Another program has changed a guest in a way that ends a migration."""

    msg_fmt = (
        'Another program has changed guest "%(guest)s" on %(host)s during '
        'the migration: %(reason)s Let that program wait, and migrate again.'
    )


class GuestBusy(Refused):
    """A guest has a job or a record with which libvirt does not migrate."""

    msg_fmt = (
        'Guest "%(guest)s" on %(host)s cannot be migrated now: %(reason)s'
    )


class UnfinishedMigration(Refused):
    msg_fmt = (
        'Guest "%(guest)s" has an unfinished migration in state %(state)s. '
        'Settle that migration first; see its journal %(path)s on %(host)s.'
    )


class MigrationLocked(Refused):
    """Another process, or another thread, acts on a migration."""

    msg_fmt = (
        'nova-compute, or another command, is at work on the migration of '
        'guest "%(guest)s" on this host. Wait until it is done, and try again.'
    )


class NoEngine(BlockCopyError):
    """No process on this host takes orders about a migration."""

    msg_fmt = (
        'No running nova-compute listens on this host (%(reason)s). Start '
        'nova-compute.'
    )


class Unsettled(BlockCopyError):
    """An attempt to settle a migration has failed, and may be repeated."""

    msg_fmt = (
        'The migration of instance %(instance)s is not settled yet. Missing: '
        '%(reason)s'
    )


class NotMigrating(Refused):
    """A command names an instance that has no migration on this host."""

    msg_fmt = (
        'Host %(host)s has no migration of an instance "%(instance)s": there '
        'is no journal of it in %(directory)s. Look for it with '
        '"nova-blockcopy list", here and on other hosts.'
    )


class Unsafe(Refused):
    """A command refuses what could lose data."""

    msg_fmt = 'Nothing was done with instance %(instance)s: %(reason)s'


class Declined(Refused):
    """The person at the terminal has said no."""

    msg_fmt = 'Nothing was done.'


class VersionTooOld(Refused):
    msg_fmt = (
        '%(program)s %(version)s on %(host)s is too old. Upgrade it to '
        '%(minimum)s or newer.'
    )


class LockManagerUsed(Refused):
    msg_fmt = (
        'libvirt on %(host)s uses the lock manager "%(name)s". It does not '
        'resume a guest there after the pivot. Remove lock_manager from '
        '%(path)s there, and restart libvirt.'
    )


class PlaintextRefused(Refused):
    msg_fmt = (
        '%(host)s would export its disks in clear text. Set [blockcopy] '
        'export_tls on both hosts; in Nova, [libvirt] '
        'live_migration_with_native_tls sets it too. If only hypervisors '
        'are on the network of the exports, you can set [blockcopy] '
        'allow_plaintext instead.'
    )


class EncryptionDiffers(Refused):
    msg_fmt = (
        '[blockcopy] export_tls is %(ours)s on %(host)s and %(theirs)s on '
        '%(peer)s. Set the same value on both hosts.'
    )


class CertificateError(Refused):
    """A host cannot read a certificate or a key that its exports need."""

    msg_fmt = (
        '%(host)s cannot read %(path)s, which [blockcopy] export_tls needs '
        '(%(reason)s). Put the certificates and keys there, or set '
        '[blockcopy] export_tls_dir.'
    )


class CertificateUnusable(Refused):
    """QEMU will not accept a certificate of a host."""

    msg_fmt = 'The certificate %(path)s on %(host)s cannot be used: %(reason)s'


class PeerUnnamed(Refused):
    """No certificate can be for the destination."""

    msg_fmt = (
        '%(host)s cannot tell which certificate the destination "%(peer)s" '
        'has, so no export could be kept for that host alone. Name the '
        'destination in the request.'
    )


class DestinationUnreachable(Refused):
    msg_fmt = (
        'The destination %(uri)s cannot be reached from %(host)s: %(reason)s'
    )


class SourceUnreachable(Refused):
    msg_fmt = (
        'The source %(uri)s cannot be reached from %(host)s, so the guest '
        'could not come back after a failure: %(reason)s'
    )


class ExportsRefused(Refused):
    msg_fmt = 'The exports cannot be used from %(host)s: %(reason)s'


class Untrusted(Refused):
    """A source asks for something that its destination does not expect."""

    msg_fmt = '%(host)s refuses an order of the source: %(reason)s'


class GuestUnfit(Refused):
    msg_fmt = 'Guest "%(guest)s" cannot run on %(host)s: %(reason)s'


class DeltaDirRefused(Refused):
    msg_fmt = (
        'The directory %(directory)s ([blockcopy] delta_dir) cannot be used: '
        '%(reason)s'
    )


class UnsafeDirectory(Refused):
    """Another user could replace a directory of the engine, or write there."""

    msg_fmt = (
        'The directory %(path)s ([blockcopy] %(option)s) cannot be used: '
        '%(reason)s'
    )


class ImageError(BlockCopyError):
    """An image on this host cannot be read or prepared."""

    msg_fmt = 'Image %(path)s: %(reason)s'


class ForbiddenPath(ImageError):
    """A path does not lead to an image of those that the helper may open."""

    msg_fmt = (
        'The privsep helper refuses to use %(path)s as root: %(reason)s If it '
        'is an image that may move, set [blockcopy] image_dirs. If not, find '
        'out who asks for it.'
    )


class HeaderError(ImageError):
    """The header of a qcow2 is not one that QEMU's programs may open."""

    msg_fmt = (
        'Image %(path)s: %(reason)s, so the engine does not open this qcow2. '
        'Convert the image with "qemu-img convert"; if the image came over '
        'the network, check the source host.'
    )


class CannotFreeze(BlockCopyError):
    """libvirt cannot switch a guest to the deltas that seeding needs."""

    msg_fmt = 'The disks of guest "%(guest)s" cannot be frozen: %(reason)s'


class HelperError(BlockCopyError):
    """oslo.privsep cannot start the process that runs functions as root."""

    msg_fmt = (
        'The privsep helper, which runs as root, cannot be started '
        '(%(reason)s). Check sudoers and the filters of nova-rootwrap, or '
        'set helper_command in [%(section)s].'
    )


class HelperBusy(BlockCopyError):
    """Long calls of other migrations use the threads of the helper."""

    msg_fmt = (
        'The privsep helper, which runs as root, had no thread for a long '
        'call within %(timeout)s s. Increase thread_pool_size in '
        '[%(section)s].'
    )


class ChildrenIgnored(BlockCopyError):
    """A process could not tell how the programs end that it starts."""

    msg_fmt = (
        'Process %(pid)s (%(program)s) ignores the signal SIGCHLD, so it '
        'cannot tell whether qemu-img and other programs succeed; start it '
        'from a program that leaves SIGCHLD at its default.'
    )


class StatusUnknown(BlockCopyError):
    """A program has ended, and nobody knows whether it succeeded."""

    msg_fmt = (
        'the exit status of process %(pid)s is lost, because SIGCHLD is '
        'ignored or other code has waited for the process. Look for a plugin '
        'of nova-compute that waits for all processes.'
    )


class HypervisorError(BlockCopyError):
    """A libvirt call failed that does not concern a block job."""

    sentences = ('reason',)
    msg_fmt = (
        'libvirt on %(host)s failed to %(action)s: %(reason)s See the log of '
        'libvirt there.'
    )


class Disconnected(HypervisorError):
    """The connection to libvirt is lost. libvirt may be restarting."""


class DriverError(BlockCopyError):
    """A call of a copy driver failed."""

    sentences: tuple[str, ...] = ('reason',)
    msg_fmt = (
        'Failed to %(action)s for disk %(disk)s: %(reason)s See the log of '
        'libvirt on the host of the guest.'
    )


class DriverTimeout(DriverError):
    """libvirt did not answer in time, or a job did not end in time."""

    sentences = ()
    msg_fmt = (
        'Timed out after %(timeout)s s: %(action)s for disk %(disk)s. See '
        'the log of libvirt on the host of the guest.'
    )


class NotReady(DriverError):
    """libvirt refused a pivot because the copy was not ready.

    libvirt's error is ``VIR_ERR_BLOCK_COPY_ACTIVE``. The job goes on.
    """

    sentences = ()
    msg_fmt = (
        'The copy of disk %(disk)s cannot pivot: it is not ready yet. Raise '
        '[blockcopy] pivot_timeout, or wait until the guest writes less.'
    )


class PivotRefused(DriverError):
    """libvirt refuses the pivot of a copy that is ready and goes on."""


class JobFailed(BlockCopyError):
    """A copy, or a merge of deltas, failed or stalled before its pivot.

    The guest goes on using the image or the export that it used before.
    """

    msg_fmt = 'The copy of disk %(disk)s failed: %(reason)s'


class SeedFailed(BlockCopyError):
    """Seeding a base failed, or the guest writes faster than seeding copies.

    The guest still runs on the source.
    """

    msg_fmt = 'Seeding the base of disk %(disk)s failed: %(reason)s'


class VerifyFailed(BlockCopyError):
    """The checksums of seeded data differ between the two hosts."""

    msg_fmt = (
        'The seeded data of disk %(disk)s differ from the source in the '
        '%(length)s bytes at offset %(offset)s. Check the storage and the '
        'network of both hosts.'
    )


class ExportError(BlockCopyError):
    msg_fmt = 'The export of %(path)s failed: %(reason)s'


class SwitchoverError(BlockCopyError):
    sentences = ('reason',)
    msg_fmt = (
        'The switchover of guest "%(guest)s" failed: %(reason)s See the logs '
        'of libvirt and QEMU on both hosts.'
    )


class JournalError(BlockCopyError):
    msg_fmt = 'Journal %(path)s: %(reason)s'


class NoteError(BlockCopyError):
    """A note of this host is damaged."""

    msg_fmt = (
        'The note %(path)s cannot be read: %(reason)s. Make it readable, or '
        'move it away.'
    )


class XMLError(BlockCopyError):
    """The XML of a guest is not what libvirt writes."""

    msg_fmt = (
        'The XML of a guest cannot be used: %(reason)s. Report a bug, with '
        'that XML.'
    )


class InvalidTransition(BlockCopyError):
    msg_fmt = (
        'A migration cannot go from state %(old)s to %(new)s. Report a bug, '
        'with the journals of both hosts.'
    )


class PeerError(BlockCopyError):
    """The other host failed in a way that no other class here describes.

    A missing answer is such a failure, too.
    """

    sentences: tuple[str, ...] = ('reason',)
    msg_fmt = (
        'The other host failed to %(operation)s: %(reason)s See the log of '
        'nova-compute there.'
    )


class TaskFailed(PeerError):
    """A task ended with an error that this project does not expect."""

    msg_fmt = (
        'Task "%(operation)s" ended unexpectedly: %(reason)s Report a bug, '
        'with the traceback in the log of nova-compute of its host.'
    )


class NoPeer(PeerError):
    """The other host's nova-compute does not run nova-blockcopy."""

    sentences = ()
    msg_fmt = (
        'Host %(host)s cannot %(operation)s: it does not run nova-blockcopy. '
        'Install it there, and set [DEFAULT] compute_driver = '
        'blockcopy.BlockCopyLibvirtDriver.'
    )


class SourceRebooted(BlockCopyError):
    """The source was rebooted while a guest elsewhere used its disks."""

    msg_fmt = (
        'The source was rebooted while guest "%(guest)s" used its disks over '
        'the network. These may lack writes that the guest has seen '
        'completed, so the exports stay closed, and the guest stays paused on '
        '%(peer)s: %(remedy)s'
    )


class TooLate(BlockCopyError):
    """A disk has pivoted, so its source image no longer gets all writes."""

    msg_fmt = (
        'The migration cannot be undone: %(reason)s Let it go on to its end.'
    )


class Aborted(BlockCopyError):
    """The caller cancelled the migration or one of its tasks."""

    msg_fmt = 'The migration of guest "%(guest)s" was aborted on request.'


class MigrationUndone(BlockCopyError):
    """The migration failed or was aborted, and all its steps were undone.

    The guest is on the source, on its own disks. ``__cause__`` is the error
    that ended the migration.
    """

    msg_fmt = (
        'The migration was undone. Guest "%(guest)s" is on its source, and '
        'nothing was lost. Cause: %(reason)s'
    )


class GuestEnded(MigrationUndone):
    """The migration was undone, but the guest had ended meanwhile.

    The guest's disks on the source are complete: before the pivot each write
    that the guest saw completed had reached them.
    """

    sentences = ('obituary', 'reason')
    msg_fmt = (
        '%(obituary)s The migration was undone. Cause: %(reason)s The disks '
        'of the guest on %(home)s are complete: start it there again.'
    )


class MigrationStuck(BlockCopyError):
    """The migration can neither go on nor be undone without an operator.

    The journals on both hosts stay, and no disk was removed.
    """

    sentences = ('reason',)
    msg_fmt = (
        'The migration of guest "%(guest)s" is stuck in state %(state)s and '
        'needs an operator: %(reason)s No disk was removed. Run '
        '"nova-blockcopy settle %(guest)s" on the source.'
    )


def from_wire(name: str, message: str) -> BlockCopyError:
    """Rebuild an error that crossed the peer channel as two strings.

    :param name: the name of a class in this module; an error of any other
        name becomes a :class:`PeerError`
    :param message: the complete message
    """
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, BlockCopyError):
        return kind(message)
    return PeerError(message)


def _sentence(text: object) -> str:
    """The text, with a full stop at its end."""
    said = str(text).rstrip()
    return said if said.endswith(('.', '!', '?')) else f'{said}.'
