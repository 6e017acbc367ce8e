#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0

# All tests, with all set-up. tox.ini says what each of them is; arguments
# replace the list: tools/test.sh functional pep8
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- pep8 cover eventlet fuzz genconfig docs \
    releasenotes functional nova-34 cloud-gate
profiles=()
case " $* " in *' cloud'*) profiles+=(cloud) ;; esac
case " $* " in *' functional-'*) profiles+=(root) ;; esac
case " $* " in *' hosts '*) profiles+=(root hosts) ;; esac
case " $* " in *' docs '*) profiles+=(docs) ;; esac
tools/setup.sh "${profiles[@]}"
exec .venv/bin/tox run -e "$(IFS=,; printf '%s' "$*")"
