#!/usr/bin/env bash
# The real clients against `twoticks demo` of this checkout: the conformance suites with a plain
# key and with a temporary one, the programs of docs/guide/sdk.md, the examples of
# docs/guide/testing.md, then sends, webhooks and metrics of two tenants against a model.
#   conformance/ci.sh            (builds the release program if it is not there)
set -euo pipefail
cd "$(dirname "$0")/.."
PROGRAM="${PROGRAM:-${CARGO_TARGET_DIR:-target}/release/twoticks}"
[ -x "$PROGRAM" ] || cargo build --release --locked

folder=$(mktemp -d)
server=""
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap finish EXIT

mkfifo "$folder/ready"
"$PROGRAM" demo --listen 127.0.0.1:0 --data-dir "$folder/demo" --json >"$folder/ready" 2>"$folder/demo.log" &
server=$!
if ! read -r ready <"$folder/ready"; then cat "$folder/demo.log" >&2; exit 1; fi
field() { python3 -c 'import json,sys; v=json.loads(sys.argv[1]); [v:=v[int(k)] if k.isdigit() else v[k] for k in sys.argv[2].split(".")]; print(v)' "$ready" "$1"; }

endpoint=$(field endpoint)
common=(--endpoint "${endpoint#http://}" --cust-space-id "$(field channel)"
  --template-code "$(field templates.0.code)" --language "$(field templates.0.language)"
  --phone-number "$(field numbers.0.phone_number)" --expect-rows 1
  --start "$(field data.start)" --end "$(field data.end)"
  --deny-ak "$(field denied.access_key_id)" --deny-sk "$(field denied.access_key_secret)" --require-sm3)

echo "== plain key"
conformance/run.sh "${common[@]}" --ak "$(field admin.access_key_id)" --sk "$(field admin.access_key_secret)"
echo "== temporary key"
conformance/run.sh "${common[@]}" --ak "$(field session.access_key_id)" \
  --sk "$(field session.access_key_secret)" --token "$(field session.security_token)"
echo "== the programs of docs/guide/sdk.md"
conformance/guide.sh "$ready"
kill "$server"; wait "$server" || true; server=""
"$PROGRAM" verify --data-dir "$folder/demo"

echo "== exports of the demo in DuckDB"
conformance/export.sh "$PROGRAM" "$folder/demo"

echo "== the examples of docs/guide/testing.md"
PROGRAM="$PROGRAM" conformance/testing.sh

echo "== sends, webhooks and metrics of two tenants"
conformance/.work/py-new/bin/python conformance/py/check_counts.py --program "$PROGRAM" --folder "$folder/counts"
