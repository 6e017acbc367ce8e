#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0

# Gets this machine ready for the other tools: the packages of bindep.txt and
# a virtual environment in .venv. Does nothing that is done already. For
# Debian 12 and 13 and Ubuntu 24.04; elsewhere it says what to install.
# Arguments are more profiles of bindep.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

OLDEST='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'

say() { printf '%s\n' "$*" >&2; }

install_packages() {
    if ! command -v apt-get >/dev/null; then
        say "Install these packages, then try again: $*"
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        say "These packages are missing: $*"
        say 'Run this as root, or install them with apt-get.'
        exit 1
    fi
    say "Installing packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c "$OLDEST" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

if ! .venv/bin/python -c '' 2>/dev/null; then
    find_python >/dev/null || install_packages python3 python3-venv
    if ! python=$(find_python); then
        say 'Python 3.11 or newer, with its venv module, is needed.'
        exit 1
    fi
    say 'Making the virtual environment .venv'
    rm -rf .venv
    "$python" -m venv .venv
fi
[ -x .venv/bin/bindep ] || .venv/bin/pip install -q bindep

# bindep prints what is missing, and ends with an error if anything is
if missing=$(.venv/bin/bindep -b test functional "$@"); then
    missing=
fi
# shellcheck disable=SC2086 # a word for each package
[ -z "$missing" ] || install_packages $missing

# what is installed, told by what asked for it
wanted=$(cat requirements.txt test-requirements.txt setup.cfg | sha256sum)
if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
    say 'Installing the Python packages'
    .venv/bin/pip install -q -r requirements.txt -r test-requirements.txt \
        tox -e .
    printf '%s\n' "$wanted" >.venv/installed
fi
