#!/usr/bin/env python3
"""Compares the exports in this folder with each other and with the answers of the API.

The only argument is the line that `twoticks demo --json` prints. Totals are compared for the days
that were over a day ago: what the demo still tells of does not belong to them any more.
"""
import hashlib
import json
import os
import sys
import time

import duckdb
from alibabacloud_cams20200606 import models as M
from alibabacloud_cams20200606.client import Client
from alibabacloud_tea_openapi import utils_models as OM

from common import DAY, Suite, need

FORMATS = ["parquet", "csv", "ndjson"]
demo = json.loads(sys.argv[1])
end = int(time.time() * 1000) // DAY * DAY - DAY
start = end - 40 * DAY
S = Suite("export")
client = Client(OM.Config(access_key_id=demo["admin"]["access_key_id"], access_key_secret=demo["admin"]["access_key_secret"],
                          endpoint=demo["endpoint"].removeprefix("http://"), protocol="http"))


def manifest(file):
    with open(file + ".manifest.json", encoding="utf-8") as told:
        return json.load(told)


def is_what_its_manifest_says(file):
    told = manifest(file)
    with open(file, "rb") as written:
        need(hashlib.sha256(written.read()).hexdigest() == told["sha256"], "another SHA-256")
    need(os.path.getsize(file) == told["bytes"], "another size")
    # What of NDJSON is text to read is JSON to DuckDB; names are in every format the same.
    names = [name for (name, *_) in duckdb.sql("describe select * from '%s'" % file).fetchall()]
    need(names == [column["name"] for column in told["columns"]], "other columns: %s" % names)
    rows = duckdb.sql("select count(*) from '%s'" % file).fetchall()[0][0]
    need(rows == told["rows"] and rows > 0, "%s rows, %s told" % (rows, told["rows"]))
    return "%d rows" % rows


def has_the_same_values(what):
    columns = manifest(what + ".parquet")["columns"]
    # JSON is spelt differently once it has been parsed; CSV guesses types, so texts are compared.
    plain = [column for column in columns if column["type"] != "json"]
    one = {"time": "epoch_ms(%s::timestamptz)", "integer": "%s::bigint", "text": "coalesce(%s::varchar, '')"}
    picked = ", ".join(one[column["type"]] % ('"%s"' % column["name"]) for column in plain)
    texts = ", ".join("'%s': 'VARCHAR'" % column["name"] for column in columns if column["type"] == "text")
    sources = {
        "parquet": "'%s.parquet'" % what,
        "csv": "read_csv('%s.csv', types={%s})" % (what, texts),
        "ndjson": "read_json('%s.ndjson', format='newline_delimited', sample_size=-1)" % what,
    }
    found = {name: duckdb.sql("select %s from %s order by all" % (picked, source)).fetchall() for name, source in sources.items()}
    for name in FORMATS:
        need(found[name] == found["parquet"], "%s differs from parquet" % name)
    return "%d columns" % len(plain)


def totals(picked, where, source="totals.parquet"):
    rows = duckdb.sql("select start_ms, %s, sum(sent)::bigint, sum(delivered)::bigint, sum(\"read\")::bigint from '%s' where side = 'after_opt_in' "
                      "and start_ms >= %d and end_ms <= %d and %s group by all order by all" % (picked, source, start, end, where)).fetchall()
    return [tuple(row) for row in rows if any(row[-3:])]


def numbers_are_what_the_api_answers():
    answer = client.get_chatapp_phone_number_metric(M.GetChatappPhoneNumberMetricRequest(
        cust_space_id=demo["channel"], start=start, end=end, granularity="DAILY"))
    rows = sorted((row.start, row.phone_number, row.sent_count, row.delivered_count) for row in answer.body.data)
    rows = [row for row in rows if any(row[-2:])]
    for source in ["totals.parquet", "totals.csv"]:
        where = "scope = 'number' and channel = '%s'" % demo["channel"]
        found = [row[:-1] for row in totals("phone_number::varchar", where, source)]
        found = [row for row in found if any(row[-2:])]
        need(found == rows, "%s: %s, the API answers %s" % (source, found[:3], rows[:3]))
    return "%d rows" % len(rows)


def templates_are_what_the_api_answers():
    compared = 0
    for template in demo["templates"]:
        if template["category"].lower() != "marketing":
            continue
        answer = client.get_chatapp_template_metric(M.GetChatappTemplateMetricRequest(
            cust_space_id=template["channel"], template_code=template["code"], language=template["language"], template_type="WHATSAPP",
            start=start, end=end, granularity="DAILY"))
        rows = sorted((row.start, row.language, row.sent_count, row.delivered_count, row.read_count) for row in answer.body.data)
        rows = [row for row in rows if any(row[-3:])]
        where = "channel = '%s' and template_code = '%s' and language = '%s' and category = 'marketing'" % (
            template["channel"], template["code"], template["language"])
        found = totals("language", where)
        need(found == rows, "%s: %s, the API answers %s" % (template, found[:3], rows[:3]))
        compared += len(rows)
    need(compared > 0, "nothing was compared")
    return "%d rows" % compared


def messages_are_counted_in_the_totals():
    picked = "count(sent_counted), count(delivered_counted), count(read_counted), count(failed_counted)"
    found = duckdb.sql("select %s from 'messages.parquet'" % picked).fetchall()[0]
    sums = "sum(sent)::bigint, sum(delivered)::bigint, sum(\"read\")::bigint, sum(failed)::bigint"
    counted = duckdb.sql("select %s from 'totals.parquet' where scope = 'number'" % sums).fetchall()[0]
    need(found == counted, "messages: %s, totals: %s" % (found, counted))
    return "%d sent" % found[0]


for what in ["totals", "messages", "events"]:
    for ending in FORMATS:
        S.check("%s.%s is what its manifest says" % (what, ending), lambda: is_what_its_manifest_says("%s.%s" % (what, ending)))
    S.check("%s has the same values in every format" % what, lambda: has_the_same_values(what))
S.check("messages are counted in the totals", messages_are_counted_in_the_totals)
S.check("numbers are what the API answers", numbers_are_what_the_api_answers)
S.check("templates are what the API answers", templates_are_what_the_api_answers)
sys.exit(S.end())
