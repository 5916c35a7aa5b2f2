#!/usr/bin/env bash
# The programs of docs/guide/sdk.md as they stand there.
#   conformance/guide.sh READY    READY is the line that `twoticks demo --json` prints: Python and
#                                 Node.js are run against that demo with the clients of run.sh
#   conformance/guide.sh          the names of the other languages only (guide/models.json)
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -gt 0 ]; then
  for client in py-new js; do
    if [ ! -f ".work/$client/.ready" ]; then
      echo "the client conformance/.work/$client is not installed: conformance/ci.sh does it" >&2
      exit 2
    fi
  done
fi
exec "${PYTHON:-python3}" guide/check.py "$@"
