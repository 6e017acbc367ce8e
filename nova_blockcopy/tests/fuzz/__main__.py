# SPDX-License-Identifier: Apache-2.0
"""Runs the surfaces, each in a process of its own.

Without --minutes the examples are the same in each run. With it each run of a
surface has another seed, until the time is over.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys

from nova_blockcopy.tests.fuzz import surface


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='nova_blockcopy.tests.fuzz', description=__doc__
    )
    parser.add_argument('--minutes', type=float, default=0.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('surface', nargs='*', choices=[[], *surface.NAMES])
    asked = parser.parse_args()
    names = asked.surface or surface.NAMES
    workers = os.cpu_count() or 1
    share = min(1.0, workers / len(names))
    seconds = asked.minutes * 60 * share
    failed, total = [], 0
    with concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context('spawn'),
        max_tasks_per_child=1,
    ) as pool:
        running = {
            pool.submit(surface.run, name, seconds, asked.seed): name
            for name in names
        }
        for done in concurrent.futures.as_completed(running):
            count, failures = done.result()
            total += count
            print(f'{running[done]:12} {count:8} examples', flush=True)
            if failures:
                failed.append(running[done])
                print(failures, flush=True)
    verdict = f'failed: {", ".join(failed)}' if failed else 'no failure'
    print(f'{total} examples of {len(running)} surfaces, {verdict}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
