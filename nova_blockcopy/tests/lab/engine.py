# SPDX-License-Identifier: Apache-2.0
"""The engine of a scene in a process of its own, which can be killed.

Both sides of the engine run in that process. A kill is like a loss of power
for two nova-computes.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from typing import Any

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy import wire
from nova_blockcopy.tests.lab import lab as labs
from nova_blockcopy.tests.lab import scene


def killed_in(made: scene.Scene, state: states.State) -> bool:
    """Run a migration, and kill the engine by SIGKILL in a state.

    :returns: whether the migration reached that state
    :raises RuntimeError: the engine failed before
    """
    order = {
        'lab': made.lab.name,
        'home': made.home.name,
        'guest': made.guest.name,
        'bases': wire.pack(made.base_requests()),
        'options': made.overrides,
        'state': state,
    }
    ended = subprocess.run(
        [sys.executable, '-m', __name__, json.dumps(order)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if ended.returncode == -signal.SIGKILL:
        return True
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return False


@dataclasses.dataclass(slots=True)
class _Guest:
    """The attributes of a guest that the engine reads."""

    name: str


def _run(order: dict[str, Any]) -> None:
    it = labs.Lab(order['lab'])
    home, away = (it.a, it.b) if order['home'] == 'a' else (it.b, it.a)
    bases = wire.unpack(order['bases'], dict[str, model.BaseRequest])
    made = scene.Scene(
        lab=it,
        home=home,
        away=away,
        guest=_Guest(order['guest']),  # type: ignore[arg-type]
        sources={},
        bases={},
        contents={},
        overrides=order['options'],
    )

    def die(now: Any) -> None:
        if now.state == order['state']:
            os.kill(os.getpid(), signal.SIGKILL)

    made.run(made.migration(die, bases=bases))


if __name__ == '__main__':
    _run(json.loads(sys.argv[1]))
