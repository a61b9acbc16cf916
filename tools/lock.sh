#!/bin/sh
# `make lock`: choose versions anew and write the lock files, for every platform and Python at once.
#   dev.txt    everything the project's own work needs     wheel.txt   all extras, and pytest
#   plain.txt  what the plain install needs
# The latter two take their versions from the first. No file names a package server: pip uses the one it is set up with.
set -eu
bin=$1/bin
"$bin/python" -m uv --version >/dev/null 2>&1 || "$bin/python" -m pip install --quiet uv

compile() {
    output=$1
    shift
    "$bin/python" -m uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file "requirements/$output" "$@"
}

compile dev.txt --upgrade --extra all --group dev
compile wheel.txt --upgrade --extra all --group packaging --constraint requirements/dev.txt
compile plain.txt --upgrade --constraint requirements/dev.txt
