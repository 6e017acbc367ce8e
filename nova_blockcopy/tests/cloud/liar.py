# SPDX-License-Identifier: Apache-2.0
"""A nova-compute that was taken over: its answers to a source are lies.

The program is Nova's own, with our driver. It takes the place of nova-compute
on a host of the cloud.
"""

import dataclasses
import sys
from typing import Any

from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import hosts
from nova_blockcopy.tests.cloud import service

#: The file that says which lie is told.
_LIE = hosts.STATE / 'lie'
_SECRET = '/etc/shadow'


def _nothing(moves: Any) -> Any:
    """The source would switch over, and redirect no disk."""
    return []


def _another_source(moves: Any) -> Any:
    """The source would export another file, and let the liar write to it."""
    return [{**move, 'source': _file(move['source'])} for move in moves]


def _another_base(moves: Any) -> Any:
    return [{**move, 'base': _file(move['base'])} for move in moves]


def _file(image: Any) -> Any:
    return {**image, 'path': _SECRET, 'kind': 'file', 'backing': None}


#: What is made of the moves of an answer, by the name of the lie.
LIES = {
    'nothing': _nothing,
    'another source': _another_source,
    'another base': _another_base,
}


def taken_over(at: compute.Compute) -> service.Service:
    """The nova-compute of a host as a liar, which is not started yet."""
    honest = at.service
    program = honest.argv.index(service.program('nova-compute'))
    return dataclasses.replace(
        honest,
        argv=(
            *honest.argv[:program],
            *(service.program('python'), '-m', __name__),
            *honest.argv[program + 1 :],
        ),
    )


def tell(at: compute.Compute, lie: str) -> None:
    """Choose the lie that a liar tells from now on."""
    (at.state / _LIE.name).write_text(lie)


def main() -> None:
    """Run nova-compute, and lie."""
    # Nova patches Python at this import, if it is one that does
    from nova.cmd import compute as nova_compute

    from nova_blockcopy.migration.destination import dispatcher

    handle = dispatcher.Dispatcher.handle

    def lied(self: Any, message: Any) -> Any:
        answer = handle(self, message)
        task = answer.get('task') or {}
        if task.get('name') != 'prepare' or not task.get('result'):
            return answer
        lie = LIES[_LIE.read_text()]
        return {**answer, 'task': {**task, 'result': lie(task['result'])}}

    dispatcher.Dispatcher.handle = lied  # type: ignore[method-assign]
    sys.exit(nova_compute.main())


if __name__ == '__main__':
    main()
