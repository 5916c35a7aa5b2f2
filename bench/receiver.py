"""A typical receiver of WhatsApp's webhooks, for comparison: FastAPI, asyncpg, PostgreSQL.

It does what such receivers do, only right: the signature over the raw body, the JSON, and in one
transaction an insert that leaves out what has been seen and an upsert of the totals by number and
by template. It prints one line with its endpoint when it listens.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from urllib.parse import unquote

import asyncpg
import uvicorn
from fastapi import FastAPI, Request, Response

TABLES = """
drop table if exists bench_hook_seen, bench_hook_numbers, bench_hook_templates;
create table bench_hook_seen (wamid text, status text, primary key (wamid, status));
create table bench_hook_numbers (
    number text, quarter int8, status text, count int8 not null,
    primary key (number, quarter, status));
create table bench_hook_templates (
    number text, template text, language text, quarter int8, status text, count int8 not null,
    primary key (number, template, language, quarter, status));
"""

RECORD = """
with told as (
    select distinct on (wamid, status) * from unnest(
        $1::text[], $2::text[], $3::int8[], $4::text[], $5::text[], $6::text[])
        as told (wamid, status, quarter, number, template, language)
    order by wamid, status
), fresh as (
    insert into bench_hook_seen select wamid, status from told
    on conflict do nothing returning wamid, status
), news as materialized (
    select told.* from told join fresh using (wamid, status)
), numbers as (
    insert into bench_hook_numbers as n
    select number, quarter, status, count(*) from news group by 1, 2, 3 order by 1, 2, 3
    on conflict (number, quarter, status) do update set count = n.count + excluded.count
)
insert into bench_hook_templates as t
select number, template, language, quarter, status, count(*) from news
where template is not null group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
on conflict (number, template, language, quarter, status) do update
set count = t.count + excluded.count
"""


def rows(hook):
    """One row per status or answered button: id, status, quarter of an hour, number, template, language."""
    for entry in hook["entry"]:
        for change in entry["changes"]:
            value = change["value"]
            number = value["metadata"]["phone_number_id"]
            for told in value.get("statuses", ()):
                template = language = None
                parts = (told.get("biz_opaque_callback_data") or "").split(":")
                if parts[0] == "tt1" and len(parts) >= 3:
                    template, language = unquote(parts[1]), unquote(parts[2])
                yield told["id"], told["status"], int(told["timestamp"]) // 900, number, template, language
            for told in value.get("messages", ()):
                yield told["id"], "reply", int(told["timestamp"]) // 900, number, None, None


def app(args):
    @asynccontextmanager
    async def lifespan(app):
        async with asyncpg.create_pool(min_size=4, max_size=8, **args.connection) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhooks/whatsapp")
    async def take(request: Request):
        body = await request.body()
        expected = "sha256=" + hmac.new(args.secret.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, request.headers.get("x-hub-signature-256", "")):
            return Response(status_code=401)
        told = list(rows(json.loads(body)))
        if told:
            columns = [list(column) for column in zip(*told)]
            while True:
                try:
                    await app.state.pool.execute(RECORD, *columns)
                    break
                except asyncpg.DeadlockDetectedError:
                    pass
        return Response("ok")

    return app


def connection(dsn):
    """`host=… port=… user=…` as asyncpg takes it."""
    known = dict(part.split("=", 1) for part in dsn.split())
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
    return {names[name]: value for name, value in known.items() if name in names}


async def make_tables(args):
    connection = await asyncpg.connect(**args.connection)
    await connection.execute(TABLES)
    await connection.close()


async def serve(args, listener, parent):
    server = uvicorn.Server(uvicorn.Config(app(args), log_level="warning", access_log=False))

    async def end_with_parent():
        while os.getppid() == parent:
            await asyncio.sleep(0.5)
        os._exit(0)

    ending = asyncio.create_task(end_with_parent())
    await server.serve(sockets=[listener])
    ending.cancel()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.connection = connection(args.dsn)
    asyncio.run(make_tables(args))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(json.dumps({"endpoint": "http://127.0.0.1:%d" % listener.getsockname()[1]}), flush=True)
    parent = os.getppid()
    for _ in range(args.workers - 1):
        first = os.getpid()
        if os.fork() == 0:
            parent = first
            break
    try:
        import uvloop

        uvloop.run(serve(args, listener, parent))
    except ImportError:
        asyncio.run(serve(args, listener, parent))


if __name__ == "__main__":
    sys.exit(main())
