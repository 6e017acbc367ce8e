#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0

# A running guest and its disks move from one host to another, before your
# eyes. Does all set-up itself; tools/demo.sh --help tells its options.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh
exec .venv/bin/python -m nova_blockcopy.tests.lab.demo "$@"
