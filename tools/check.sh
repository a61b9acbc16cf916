#!/bin/sh
# `make check`: run every check, also after one has failed, then name those that did. The argument is the environment.
set -u
bin=${1:-.venv}/bin
failed=""

check() {
    name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed="$failed $name"
}

check format "$bin/ruff" format --check .
check lint "$bin/ruff" check .
check types "$bin/mypy"
check layers "$bin/lint-imports" --no-logo
check cycles "$bin/python" -m tools.check_cycles
check homes "$bin/python" -m tools.check_homes
check sizes "$bin/python" -m tools.check_sizes
check import "$bin/python" -m tools.check_import
check hygiene "$bin/python" -m tools.check_hygiene
check links "$bin/python" -m tools.check_links
if [ -f tools/generate_configuration.py ]; then
    check configuration "$bin/python" -m tools.generate_configuration --check
else
    echo "!! NOT CHECKED: tools/generate_configuration.py does not exist yet" >&2
fi
check docs "$bin/python" -m tools.check_docs
check examples "$bin/python" -m tools.check_examples

echo
if [ -n "$failed" ]; then
    echo "make check: FAILED:$failed" >&2
    exit 1
fi
echo "make check: all passed"
