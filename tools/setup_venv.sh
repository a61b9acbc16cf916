#!/bin/sh
# Make a virtual environment from a lock file. Needs Python 3.11 or later and its pip; no root, no other tool.
#   tools/setup_venv.sh PYTHON FOLDER LOCK
# A folder that is already one is brought in line with the lock. Every package is checked against its hash.
set -eu
python=$1 folder=$2 lock=$3

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    found=$("$python" --version 2>&1) || found="nothing that runs"
    echo "Python 3.11 or later is needed, but '$python' is $found." >&2
    echo "Name another interpreter: make PYTHON=python3.12 ..." >&2
    exit 1
fi

# Some distributions leave `ensurepip` out of Python; the pip outside can then install into the environment.
if [ ! -x "$folder/bin/python" ]; then
    "$python" -m venv "$folder" >/dev/null 2>&1 || "$python" -m venv --without-pip --clear "$folder"
fi
if "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    pip() { "$folder/bin/python" -m pip --disable-pip-version-check "$@"; }
else
    pip() { "$python" -m pip --python "$folder/bin/python" --disable-pip-version-check "$@"; }
fi

pip install -qq --require-hashes --requirement "$lock"
shift 3
[ $# -eq 0 ] || pip install -qq --no-deps --no-index --no-build-isolation "$@"
