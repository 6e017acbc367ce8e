# SPDX-License-Identifier: Apache-2.0
"""Whether nova-compute loads the compute driver of this project. Pure."""

from collections.abc import Sequence

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.cmd import configuration

DRIVER = 'blockcopy.BlockCopyLibvirtDriver'


def result(
    settings: Sequence[configuration.DriverSetting], files: Sequence[str]
) -> upgradecheck.Result:
    """Decide on the compute driver.

    :param settings: the driver in each possible order of the files
    :param files: the files that were read
    """
    others = [each for each in settings if each.driver != DRIVER]
    if not files and others:
        return answers.warning(
            'No configuration file of nova-compute was found. Run this '
            'command as root or as the user of nova-compute, or name the '
            'files with --config-file.'
        )
    if not others:
        return answers.success()
    said = _sentences(others[0], files)
    if len(others) == len(settings):
        return answers.failure(said)
    return answers.warning(
        f'The driver depends on how nova-compute gets its files. If it gets '
        f'them {others[0].order}: {said} Or pass the --config-file and '
        f'--config-dir of nova-compute to this command, too.'
    )


def _sentences(
    found: configuration.DriverSetting, files: Sequence[str]
) -> str:
    if found.driver:
        fault = (
            f'nova-compute loads "{found.driver}", because {found.place} has '
            f'the last word on [DEFAULT] compute_driver.'
        )
    else:
        fault = 'No file sets [DEFAULT] compute_driver.'
    return (
        f'{fault} Set compute_driver = {DRIVER} in '
        f'{found.place or files[-1]}, and restart nova-compute.'
    )
