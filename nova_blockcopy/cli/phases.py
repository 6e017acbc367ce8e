# SPDX-License-Identifier: Apache-2.0
"""Each state of a migration in words, for people. Pure."""

from nova_blockcopy.states import State

#: What happens in a state.
SAID = {
    State.PREPARING: 'the destination checks the bases',
    State.FREEZING: 'the guest writes to deltas from now on',
    State.SEEDING: 'the disks are copied; the guest runs on the source',
    State.EXPORTING: 'the source serves the disks over NBD',
    State.SWITCHING: 'the memory moves to the destination',
    State.COPYING: 'the guest runs on the destination; its disks are copied',
    State.READY: 'each write of the guest goes to both hosts',
    State.PIVOTING: 'the guest switches to its bases on the destination',
    State.RELEASING: 'the pivot is proven; the source releases its disks',
    State.SETTLED: 'the disks are done; the part of Nova is left',
    State.UNDOING: 'the migration is undone',
    State.STUCK: 'the engine could neither go on nor back',
    State.ENDED: 'done',
}
