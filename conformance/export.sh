#!/usr/bin/env bash
# Exports of a demo's folder: the README's one line opens the Parquet file in DuckDB, all three
# formats have the same rows, and their sums are the answers of the API.
#   conformance/export.sh PROGRAM FOLDER      (the folder of a demo that has stopped)
set -euo pipefail
[ $# -eq 2 ] || { sed -n 2,4p "$0"; exit 2; }
program=$(realpath "$1")
data=$(realpath "$2")
cd "$(dirname "$0")"
here=$PWD
venv="$here/.work/export"
mkdir -p "$here/.work"
for needed in new duckdb; do
  if [ ! -f "$venv/.ready" ] || [ "py/requirements-$needed.txt" -nt "$venv/.ready" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r py/requirements-new.txt -r py/requirements-duckdb.txt
    touch "$venv/.ready"
  fi
done

folder=$(mktemp -d)
server=""
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap finish EXIT
cd "$folder"

# Nothing runs on the folder, so every file is of the same journal position.
for what in totals messages events; do
  for format in parquet csv ndjson; do
    "$program" export "$what" --to "$what.$format" --data-dir "$data" >/dev/null
  done
done
line=$(sed -n 's/^\$ python3 \(-c .*totals\.parquet.*\)$/\1/p' "$here/../README.md" | head -n 1)
[ -n "$line" ] || { echo "README.md has no line that opens totals.parquet" >&2; exit 1; }
echo "python3 $line"
bash -c "'$venv/bin/python' $line"

mkfifo ready
"$program" demo --listen 127.0.0.1:0 --data-dir "$data" --json >ready 2>demo.log &
server=$!
if ! read -r told <ready; then cat demo.log >&2; exit 1; fi
"$venv/bin/python" "$here/py/check_export.py" "$told"
