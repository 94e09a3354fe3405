#!/bin/sh
# Format, lint, types, layers, then all tests with coverage. Arguments go to pytest. Stops at the first thing that is not in order.
set -eu
bin=${VENV:-.venv}/bin
say() { printf '\n== %s\n' "$1"; }
say format; "$bin/ruff" format --check src tests scripts bench soak
say lint; "$bin/ruff" check src tests scripts bench soak
say types; "$bin/mypy"
say layers; "$bin/lint-imports" --no-logo 2>/dev/null || "$bin/lint-imports"
say tests
# Two at a time: most tests wait for servers. Each worker has a lab of its own.
if [ "$#" -gt 0 ]; then
    "$bin/python" -m pytest -n 2 --dist loadfile --cov --cov-report= "$@"
else
    "$bin/python" -m pytest -n 2 --dist loadfile --cov --cov-report= -m "not lab"
    "$bin/python" -m pytest -n 2 --dist worksteal --cov --cov-append --cov-report= -m lab
fi
say coverage
"$bin/python" -m coverage report --skip-covered --sort=cover | tail -n 25
# Only where nothing is skipped does the whole figure mean anything.
[ -z "${CI:-}" ] || "$bin/python" -m coverage report --fail-under=90 >/dev/null || { echo "the package is covered to less than 90 %"; exit 1; }
"$bin/python" -m coverage report --include='*/handyrep/decide/*' --fail-under=100 >/dev/null || { echo "decide/ is not covered to 100 %"; exit 1; }
