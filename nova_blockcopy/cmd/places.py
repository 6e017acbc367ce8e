# SPDX-License-Identifier: Apache-2.0
"""Whether the engine can use its two directories.

The checks change nothing: they neither make a directory nor take back rights.
"""

import stat

from oslo_upgradecheck import upgradecheck

from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy.cmd import account
from nova_blockcopy.cmd import answers
from nova_blockcopy.host import deltas
from nova_blockcopy.host import directories
from nova_blockcopy.host import space

#: The owner of ``delta_dir``, unless nova-compute made it as another user.
_ROOT = 0


def journal_dir(
    path: str, nova_compute: account.Account
) -> upgradecheck.Result:
    """Check the directory of the journals.

    :raises OSError: this process may not see it
    """
    place = directories.look(path)
    reason = _fault(place, directories.PRIVATE, nova_compute, nova_compute.uid)
    if reason is None:
        return _usable(place, directories.PRIVATE)
    error = _unsafe(path, 'journal_dir', reason)
    return answers.failure(f'{error} Until then nova-compute does not work.')


def delta_dir(
    settings: conf.Settings, nova_compute: account.Account
) -> upgradecheck.Result:
    """Check the directory of the deltas.

    :raises OSError: this process may not see it
    :raises HelperError: the helper cannot be started
    """
    path = settings.delta_dir
    place = directories.look(path)
    reason = _fault(place, directories.PASSABLE, nova_compute, _ROOT)
    try:
        if reason is not None:
            raise _unsafe(path, 'delta_dir', reason)
        nearest = (place.itself or place.above[0]).path
        space.check(nearest, settings.delta_min_free)
        deltas.check_direct(nearest)
    except (exception.UnsafeDirectory, exception.NoRoom) as e:
        return answers.warning(f'{e} Until then migrations use direct mode.')
    except exception.DeltaDirRefused as e:
        return answers.failure(f'{e} Until then seeded mode is refused.')
    return _usable(place, directories.PASSABLE)


def _fault(
    place: directories.Place,
    mode: int,
    nova_compute: account.Account,
    maker: int,
) -> str | None:
    """Say why the engine cannot use a directory; None if it can. Pure.

    :param mode: the most rights of the directory
    :param maker: the user that makes the directory, and takes back rights
    """
    counting = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO | stat.S_ISVTX
    if place.itself is not None and place.itself.uid == maker:
        counting = mode
    reason = directories.unusable(
        place,
        counting,
        (_ROOT, nova_compute.uid),
        (_ROOT, nova_compute.gid),
    )
    if reason is not None:
        return reason
    level = place.itself or place.above[0]
    if directories.may_write(level, maker, nova_compute.gid):
        return None
    return (
        f'the user {nova_compute.name} may not write to {level.path}. Make '
        f'this user the owner.'
    )


def _unsafe(path: str, option: str, reason: str) -> exception.UnsafeDirectory:
    return exception.UnsafeDirectory(path=path, option=option, reason=reason)


def _usable(place: directories.Place, mode: int) -> upgradecheck.Result:
    """The result for a directory that the engine can use. Pure."""
    if place.itself is None:
        return answers.success(f'nova-compute will make {place.path}.')
    present = stat.S_IMODE(place.itself.mode)
    if not present & ~mode:
        return answers.success()
    return answers.warning(
        f'Other users have rights on {place.path}: its mode is '
        f'{present:04o}. nova-compute takes these rights back when it starts. '
        f'You can do so now: run "chmod {present & mode:04o} {place.path}".'
    )
