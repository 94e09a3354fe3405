#!/bin/sh
# Make the virtual environment $2 with the Python $1. Where Debian keeps the venv module in a package of its own and we are
# root, that package is installed first.
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "HandyRep needs Python 3.11 or newer; $python is not. Say which one: make PYTHON=/path/to/python3.11 …" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "Install python3-venv first." >&2; exit 1; }
    apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends python3-venv >/dev/null
fi
"$python" -m venv "$venv"
