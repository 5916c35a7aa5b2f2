#!/usr/bin/env bash
# Clients of the Graph API that others wrote, against `twoticks emulate` and through `/graph` of a
# server that is connected with it; and that server's own requests against Meta's description.
#   conformance/graph.sh         (PROGRAM names the program; else the release program of this checkout)
# Meta's description is read from $SHARED/data/meta (../shared of the project); without it that part
# says so and is left out.
set -euo pipefail
cd "$(dirname "$0")/.."
PROGRAM="$(realpath -m "${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/twoticks}")"
SHARED="$(realpath -m "${SHARED:-../shared}")"
if [ ! -x "$PROGRAM" ]; then
  echo "there is no program $PROGRAM: build it with cargo build --release, or name it in PROGRAM" >&2
  exit 2
fi
cd conformance
. ./install.sh
venv graph requirements-graph.txt
node_modules graph
exec "$WORK/graph/bin/python" py/check_graph.py --program "$PROGRAM" --node-modules "$WORK/js-graph/node_modules" --meta "$SHARED/data/meta"
