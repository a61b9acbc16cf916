#!/usr/bin/env bash
# Build the wheel and test it where nothing else is: environments that hold only what it asks for, out of the source tree.
# One has the plain install, the other every extra. The tests run in the second and start the first.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH

"$root/.venv/bin/python" -m hatchling build -t wheel -d "$work/dist"
wheel=$(echo "$work"/dist/*.whl)
tools/setup_venv.sh "$root/.venv/bin/python" "$work/plain" requirements/plain.txt "$wheel"
tools/setup_venv.sh "$root/.venv/bin/python" "$work/full" requirements/wheel.txt "$wheel"
for each in plain full; do
    "$work/$each/bin/python" -m pip --disable-pip-version-check check
done

cp -R tests/packaging "$work/tests"
cd "$work/tests"
WHEEL_UNDER_TEST=$wheel WHEEL_PLAIN_PYTHON=$work/plain/bin/python \
    "$work/full/bin/python" -m pytest -p no:cacheprovider --rootdir "$work/tests" -ra .
