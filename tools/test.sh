#!/usr/bin/env bash
#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

# All tests, with all set-up. tox.ini says what each of them is; arguments
# replace the list: tools/test.sh functional pep8
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- pep8 cover eventlet genconfig docs releasenotes \
    functional nova-34 cloud-gate
profiles=()
case " $* " in *' cloud'*) profiles+=(cloud) ;; esac
case " $* " in *' functional-trixie'*) profiles+=(root) ;; esac
tools/setup.sh "${profiles[@]}"
exec .venv/bin/tox run -e "$(IFS=,; printf '%s' "$*")"
