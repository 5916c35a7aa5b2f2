#!/usr/bin/env bash
# docs/guide/testing.md as it stands there: its doors and tables against `twoticks emulate`, its
# pytest and Jest examples run, its other examples checked as far as text can be.
#   conformance/testing.sh       (PROGRAM names the program; else the release program of this checkout)
set -euo pipefail
cd "$(dirname "$0")/.."
PROGRAM="$(realpath -m "${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/twoticks}")"
if [ ! -x "$PROGRAM" ]; then
  echo "there is no program $PROGRAM: build it with cargo build --release, or name it in PROGRAM" >&2
  exit 2
fi
cd conformance
. ./install.sh
venv testing requirements-testing.txt
node_modules
exec "$WORK/testing/bin/python" guide/testing.py "$PROGRAM"
