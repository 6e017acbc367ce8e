# SPDX-License-Identifier: Apache-2.0
"""Programs that end together with the process that started them."""


def tied(*argv: str) -> tuple[str, ...]:
    """Return a command that the kernel kills when its starter has died.

    A cleanup of a test does not run if the process of the test is killed.
    """
    return ('setpriv', '--pdeathsig', 'KILL', *argv)
