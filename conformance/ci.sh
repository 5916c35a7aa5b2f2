#!/usr/bin/env bash
# The real clients against this checkout. Against `twoticks demo`: the conformance suites with a
# plain key and with a temporary one, the programs of docs/guide/sdk.md, exports of it in DuckDB.
# Against `twoticks emulate` with fixtures.json loaded and its clock turned: the suites again. Then
# the examples of docs/guide/testing.md, sends, webhooks and metrics of two tenants against a model,
# receipts and webhooks that are passed on, metrics under every chaos profile against the emulator's
# book; clients of the Graph API, and the setup page in a browser, last.
#   conformance/ci.sh            (builds the release program if it is not there)
set -euo pipefail
cd "$(dirname "$0")/.."
PROGRAM="${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/twoticks}"
[ -x "$PROGRAM" ] || cargo build --release --locked

folder=$(mktemp -d)
server=""
stop() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  server=""
}
trap 'stop; rm -rf "$folder"' EXIT

ready=""
start() { # arguments of the program; its ready line is in $ready
  rm -f "$folder/ready"; mkfifo "$folder/ready"
  "$PROGRAM" "$@" --listen 127.0.0.1:0 --json >"$folder/ready" 2>"$folder/server.log" &
  server=$!
  if ! read -r ready <"$folder/ready"; then cat "$folder/server.log" >&2; exit 1; fi
}
field() { python3 -c 'import json,sys; v=json.loads(sys.argv[1]); [v:=v[int(k)] if k.isdigit() else v[k] for k in sys.argv[2].split(".")]; print(v)' "${2:-$ready}" "$1"; }
suites() { # start, end: the conformance suites with both keys of $ready
  local endpoint common; endpoint=$(field endpoint)
  common=(--endpoint "${endpoint#http://}" --cust-space-id "$(field channel)"
    --template-code "$(field templates.0.code)" --language "$(field templates.0.language)"
    --phone-number "$(field numbers.0.phone_number)" --expect-rows 1 --start "$1" --end "$2"
    --deny-ak "$(field denied.access_key_id)" --deny-sk "$(field denied.access_key_secret)" --require-sm3)
  echo "== plain key"
  conformance/run.sh "${common[@]}" --ak "$(field admin.access_key_id)" --sk "$(field admin.access_key_secret)"
  echo "== temporary key"
  conformance/run.sh "${common[@]}" --ak "$(field session.access_key_id)" \
    --sk "$(field session.access_key_secret)" --token "$(field session.security_token)"
}

echo "== against a demo"
start demo --data-dir "$folder/demo"
suites "$(field data.start)" "$(field data.end)"
echo "== the programs of docs/guide/sdk.md"
conformance/guide.sh "$ready"
stop
"$PROGRAM" verify --data-dir "$folder/demo"

echo "== exports of the demo in DuckDB"
conformance/export.sh "$PROGRAM" "$folder/demo"

echo "== against an emulator"
start emulate --memory --fixtures conformance/fixtures.json
python=conformance/.work/py-new/bin/python
# Every message is read and tapped, and then the clock is days ahead of the one callers sign by.
control=$(field control)
curl -fsS -o "$folder/door" -X POST "${control}config?outcome=tapped"
$python conformance/py/send.py "$ready"
curl -fsS -o "$folder/door" -X POST "${control}clock?advance=3d"
curl -fsS -o "$folder/door" -X POST "${control}config?outcome=life"
now=$(field now "$(curl -fsS "${control}clock")")
suites $((now - 6 * 86400000)) "$now"
stop

echo "== the examples of docs/guide/testing.md"
PROGRAM="$PROGRAM" conformance/testing.sh

echo "== sends, webhooks and metrics of two tenants"
$python conformance/py/check_counts.py --program "$PROGRAM" --folder "$folder/counts"

echo "== receipts and webhooks, passed on"
$python conformance/py/check_pass_on.py --program "$PROGRAM"

echo "== metrics under every chaos profile"
$python conformance/py/check_chaos.py --program "$PROGRAM" --messages 600

echo "== the real Graph clients"
PROGRAM="$PROGRAM" conformance/graph.sh

echo "== the setup page in a browser"
PROGRAM="$PROGRAM" conformance/setup.sh
