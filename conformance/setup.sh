#!/usr/bin/env bash
# The page that connects channels with WhatsApp (`/ui/setup`), in a real browser without JavaScript,
# against a server whose Graph API is that of `twoticks emulate`.
#   conformance/setup.sh         (PROGRAM names the program; else the release program of this checkout)
# CHROMIUM names the browser; where there is none, this says so and passes. SCREENSHOTS names a folder
# for pictures of every step.
set -euo pipefail
cd "$(dirname "$0")/.."
PROGRAM="$(realpath -m "${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/twoticks}")"
if [ ! -x "$PROGRAM" ]; then
  echo "there is no program $PROGRAM: build it with cargo build --release, or name it in PROGRAM" >&2
  exit 2
fi
CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
if [ -z "$CHROMIUM" ]; then
  echo "there is no Chromium: the pages are not tried in a browser"
  exit 0
fi
cd conformance
. ./install.sh
node_modules setup
NODE_PATH="$WORK/js-setup/node_modules" exec node js/setup/setup.js "$PROGRAM" "$CHROMIUM" "${SCREENSHOTS:-}"
