#!/usr/bin/env bash
# Starts the peers that `twoticks bench` compares with, runs it with them, and stops them.
#
#   bench/peers.sh [--program PROGRAM] [options of `twoticks bench`]
#
# PostgreSQL 15 comes from the system (`initdb` and `pg_ctl`; PG_BIN names their folder); root runs
# it as the user `postgres`. ClickHouse is the one at CLICKHOUSE_URL, or one that
# `bench/clickhouse.py` starts (`bench/clickhouse.py install` brings it, once); without either it is
# left out. FastAPI, uvicorn and asyncpg are installed into a venv with pip. Everything lies in
# BENCH_DIR (else `target/bench`), which has to be on the disk that is meant, and which the user
# `postgres` has to be able to reach.
set -euo pipefail
cd "$(dirname "$0")/.."

program=target/dist/twoticks
if [ "${1:-}" = --program ]; then
  program=$2
  shift 2
else
  cargo build --profile dist --locked -p twoticks
fi
dir=${BENCH_DIR:-$PWD/target/bench}
mkdir -p "$dir"
run=$(mktemp -d "$dir/peers.XXXXXX")
chmod 755 "$run"
say() { printf '%s\n' "$*" >&2; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

pg_bin=${PG_BIN:-/usr/lib/postgresql/15/bin}
as_postgres() { "$@"; }
if [ "$(id -u)" = 0 ]; then as_postgres() { (cd "$run" && runuser -u postgres -- "$@"); }; fi

cleanup() {
  [ ! -d "$run/pg/data" ] || as_postgres "$pg_bin/pg_ctl" -D "$run/pg/data" -m immediate stop >&2 || true
  [ ! -f "$run/clickhouse/cluster.json" ] || python3 bench/clickhouse.py down "$run/clickhouse" || true
  rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

options=()
if [ -x "$pg_bin/initdb" ]; then
  say "peers: PostgreSQL"
  mkdir "$run/pg"
  [ "$(id -u)" != 0 ] || chown postgres "$run/pg"
  port=$(free_port)
  as_postgres "$pg_bin/initdb" -D "$run/pg/data" -U postgres -A trust >&2
  # What anybody sets: a quarter of a small machine's memory, and checkpoints that are not all the time.
  as_postgres "$pg_bin/pg_ctl" -D "$run/pg/data" -l "$run/pg/log" -w start -o "-p $port \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories=$run/pg -c synchronous_commit=on \
    -c shared_buffers=1GB -c max_wal_size=4GB" >&2
  options+=(--postgres "host=127.0.0.1 port=$port user=postgres dbname=postgres")
else
  say "peers: no PostgreSQL 15 in $pg_bin; PG_BIN names another folder"
fi

if [ -n "${CLICKHOUSE_URL:-}" ]; then
  options+=(--clickhouse "$CLICKHOUSE_URL")
elif python3 bench/clickhouse.py up "$run/clickhouse" >"$run/clickhouse.json"; then
  port=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["nodes"]["s1"]["http"])' <"$run/clickhouse.json")
  options+=(--clickhouse "http://127.0.0.1:$port")
else
  say "peers: no ClickHouse; \`bench/clickhouse.py install\` brings one, CLICKHOUSE_URL names another"
fi

venv=$dir/venv
if [ ! -x "$venv/bin/uvicorn" ]; then
  say "peers: a venv with FastAPI"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet fastapi uvicorn uvloop httptools asyncpg >&2
fi
options+=(--python "$venv/bin/python")

"$program" bench --dir "$run" "${options[@]}" "$@"
