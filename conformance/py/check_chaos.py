#!/usr/bin/env python3
"""Whatever goes wrong between WhatsApp and the server, both metrics are what the emulator's book says.

Starts `twoticks emulate` and, under every chaos profile alone, all mixed, and all side by side in
accounts of their own, sends for four days with the real SDK, opts in on the second one, turns the
clock, and compares row by row. With --folder it keeps its data on disk, is killed and verified.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from alibabacloud_cams20200606 import models as M
from alibabacloud_cams20200606.client import Client
from alibabacloud_tea_openapi import utils_models as OM
from alibabacloud_tea_openapi.exceptions import ThrottlingException

from common import DAY, Suite, need

HOUR, HALF_HOUR = 3600_000, 1800_000
PROFILES = ["duplicate", "reorder", "delay", "drop", "batch", "truncate", "forge", "burst", "silence"]
# What has to be seen going wrong with bodies, where a profile is about those.
FAULTS = {"duplicate": {"repeated"}, "drop": {"lost", "answer lost"}, "truncate": {"cut short", "broken off"}, "forge": {"forged"}}
MIXED = ",".join(PROFILES)
MASS_MAX, SINGLE_MAX = 1000, 2000
BUTTONS = [{"type": "quick_reply", "text": "Yes"}, {"type": "url", "text": "Shop"}, {"type": "quick_reply", "text": "Später 😀"}]
TEMPLATES = [("promo", "en", "marketing"), ("promo", "de", "marketing"), ("news", "en", "marketing"), ("order", "en", "utility"),
             ("moved", "en", "utility"), ("code", "en", "authentication")]

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--program", required=True, help="the twoticks program")
p.add_argument("--messages", type=int, default=400, help="messages under each profile")
p.add_argument("--seed", type=int, default=20261123)
p.add_argument("--profiles", nargs="*", default=[*PROFILES, MIXED], help="instead of every one and all mixed; comma mixes")
p.add_argument("--folder", default="", help="keep data here instead of in memory; an empty or absent folder")
a = p.parse_args()
a.program, a.folder = os.path.abspath(a.program), a.folder and os.path.abspath(a.folder)
S = Suite("chaos")


class Emulator:
    def start(self):
        where = ["--data-dir", a.folder] if a.folder else ["--memory"]
        self.process = subprocess.Popen([a.program, "emulate", *where, "--any-key", "--listen", "127.0.0.1:0", "--seed", str(a.seed), "--json"],
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, "TWOTICKS__LOG__FILTER": "warn"})
        line = self.process.stdout.readline()
        need(line, "the emulator did not start")
        self.endpoint = json.loads(line)["endpoint"]

    def ask(self, method, door, body=None, **query):
        url = "%s/_twoticks/%s?%s" % (self.endpoint, door, urllib.parse.urlencode(query))
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
        try:
            with urllib.request.urlopen(request, timeout=3600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            raise AssertionError("%s %s: %d %s" % (method, url, e.code, e.read().decode())) from e

    def get(self, door, **query):
        return self.ask("GET", door, **query)

    def post(self, door, body=None, **query):
        return self.ask("POST", door, body, **query)

    def now(self):
        return self.get("clock")["now"]

    def stop(self):
        self.process.terminate()
        need(self.process.wait(timeout=60) == 0, "the emulator did not stop in order")


class Tenant:
    """An account of its own: a channel with two numbers and six templates."""

    def __init__(self, index, key, messages):
        self.key, self.messages, self.sent = key, messages, 0
        self.numbers = ["999000%03d%d" % (index, n) for n in (1, 2)]
        made = emulator.post("fixtures", {
            "numbers": [{"phone_number": n} for n in self.numbers],
            "templates": [dict(code=c, language=x, category=k, buttons=[] if k == "authentication" else BUTTONS, appeal=3000) for c, x, k in TEMPLATES],
        }, key=key)
        self.channel = made["channel"]
        emulator.post("fixtures", {"channels": [{"id": self.channel, "links": True}]}, key=key)

    def client(self):
        host = emulator.endpoint.removeprefix("http://")
        return Client(OM.Config(access_key_id=self.key, access_key_secret="not checked", endpoint=host, protocol="http", read_timeout=60000))

    def call(self, name, request):
        while True:
            try:
                body = getattr(self.client(), name)(request).body.to_map()
                need(body["Code"] == "OK", body)
                return body
            except ThrottlingException as e:
                time.sleep((e.retry_after or 100) / 1000)

    def to(self):
        self.sent += 1
        return ("4915", "5511", "6281", "1555")[self.sent % 4] + "%07d" % self.sent

    def mass(self, number, code, language, n):
        L = M.SendChatappMassMessageRequestSenderList
        for size in [MASS_MAX] * (n // MASS_MAX) + [n % MASS_MAX] * (n % MASS_MAX > 0):
            self.call("send_chatapp_mass_message", M.SendChatappMassMessageRequest(
                channel_type="whatsapp", cust_space_id=self.channel, from_=self.numbers[number], template_code=code, language=language,
                sender_list=[L(to=self.to(), template_params={"name": "x"}) for _ in range(size)]))

    def single(self, number, code=None, **more):
        k = dict(channel_type="whatsapp", cust_space_id=self.channel, from_=self.numbers[number])
        k.update(dict(type="template", template_code=code, language="en") if code else dict(type="message", message_type="text", content='{"text":"hello"}'))
        k.update(more or {"to": self.to()})
        self.call("send_chatapp_message", M.SendChatappMessageRequest(**k))

    def send(self, share):
        """A share of the messages: most of them in mass sends, from both numbers."""
        n = max(int(self.messages * share), 12)
        for number, code, language, part in ((0, "promo", "en", 35), (1, "promo", "de", 20), (1, "news", "en", 15), (0, "moved", "en", 15)):
            self.mass(number, code, language, max(n * part // 100, 1))
        singles = [(0, "order", {}), (1, "code", {}), (1, "promo", {}), (0, None, {}), (1, "news", dict(to="Y2FwaV9ncm91cDo", recipient_type="group")),
                   (0, "promo", dict(to="ID.%016d" % self.sent, recipient_type="userId"))]
        todo = [singles[i % len(singles)] for i in range(min(max(n * 15 // 100, len(singles)), SINGLE_MAX))]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda it: self.single(it[0], it[1], **it[2]), todo))

    def opt_in(self):
        before = emulator.now()
        self.call("enable_whatsapp_roimetric", M.EnableWhatsappROIMetricRequest(cust_space_id=self.channel))
        told = self.book("day")["opt_in"]
        need(before // 1000 <= told / 1000 <= emulator.now() / 1000, "opted in at %s, the clock showed %s before" % (told, before))

    def book(self, by):
        return emulator.get("inspect/book", channel=self.channel, by=by)["channels"][0]

    def booked(self, by):
        """What both metrics have to answer. A row in which everything is zero is left out."""
        phone, template = {}, {}
        for row in self.book(by)["rows"]:
            if not row["counts"]:
                continue
            if row["phone_number"] and (row["sent"] or row["delivered"]):
                phone[row["start"], row["end"], row["phone_number"]] = (row["sent"], row["delivered"])
            clicks = {("url_button" if c["type"] == "url" else c["type"], c["text"]): c["all"] for c in row["clicks"]}
            figures = (row["sent"], row["delivered"], row["read"], tuple(sorted(clicks.items())))
            if row["template"] and row["category"] == "marketing" and any(figures):
                of = row["template"]
                template[row["start"], row["end"], of["code"], of["language"]] = figures
        return phone, template

    def answered(self, granularity, start, end):
        phone, template = {}, {}
        step = (30 if granularity == "HALF_HOUR" else 360) * DAY
        for start in range(start, end, step):
            k = dict(cust_space_id=self.channel, start=start, end=min(start + step, end), granularity=granularity)
            for r in self.call("get_chatapp_phone_number_metric", M.GetChatappPhoneNumberMetricRequest(**k))["Data"]:
                need(r["Granularity"] == granularity, r)
                add(phone, (r["Start"], r["End"], r["PhoneNumber"]), (r["SentCount"], r["DeliveredCount"]))
            for code in sorted({c for c, _, _ in TEMPLATES}):
                for r in self.call("get_chatapp_template_metric", M.GetChatappTemplateMetricRequest(template_code=code, **k))["Data"]:
                    clicks = {(c["Type"], c["ButtonContent"]): c["Count"] for c in r["Cliented"]}
                    figures = (r["SentCount"], r["DeliveredCount"], r["ReadCount"], tuple(sorted(clicks.items())))
                    add(template, (r["Start"], r["End"], r["TemplateCode"], r["Language"]), figures)
        return phone, template

    def life(self):
        """Four days: nothing answered before the opt-in in the midst of the second, a template that
        becomes marketing, one that is paused for three hours."""
        begin = emulator.now()
        moved = dict(code="moved", language="en", category="marketing", buttons=BUTTONS)
        promo = dict(code="promo", language="de", category="marketing", buttons=BUTTONS)
        self.send(0.25)
        yield "6h"
        need(self.answered("DAILY", begin - DAY, emulator.now() + DAY) == ({}, {}), "rows before the opt-in")
        yield "18h"
        self.send(0.15)
        self.opt_in()
        self.send(0.10)
        emulator.post("fixtures", {"templates": [dict(moved, category_from=emulator.now() + 10 * HOUR)]}, key=self.key)
        yield "1d"
        self.send(0.25)
        emulator.post("fixtures", {"templates": [dict(promo, status="paused")]}, key=self.key)
        yield "3h"
        emulator.post("fixtures", {"templates": [dict(promo, status="approved")]}, key=self.key)
        yield "21h"
        self.send(0.25)

    def equal(self, since):
        """Compares every row; says how many there were."""
        # Whole days around everything that was told.
        start, end = (since // DAY - 2) * DAY, (emulator.now() // DAY + 2) * DAY
        rows = 0
        self.last = {}
        for granularity, by in (("DAILY", "day"), ("HALF_HOUR", "half_hour")):
            self.last[granularity] = (start, end, self.answered(granularity, start, end))
            for what, got, want in zip(("number", "template"), self.last[granularity][2], self.booked(by)):
                bad = sorted(k for k in set(got) | set(want) if got.get(k) != want.get(k))
                need(not bad, "%s, %s metric, %s: %d rows of %d differ, first %s: answered %s, the book says %s" % (
                    self.key, what, granularity, len(bad), len(want), bad[0] if bad else "", bad and got.get(bad[0]), bad and want.get(bad[0])))
                rows += len(want)
        sums = [collections.Counter(), collections.Counter()]
        for row in self.book("day")["rows"]:
            if row["phone_number"]:
                sums[row["counts"]].update(sent=row["sent"], read=row["read"], clicks=sum(c["all"] for c in row["clicks"]))
        need(all(sums[0][k] and sums[1][k] for k in ("sent", "read")) and sums[1]["clicks"], "too little happened to compare: %s" % sums)
        return rows, sums[0]["sent"] + sums[1]["sent"]


def add(rows, key, figures):
    need(key not in rows, "the row %s is answered twice" % (key,))
    need(any(figures), "the row %s of nothing is answered" % (key,))
    rows[key] = figures


def settle():
    """Turns the clock until everything is told; says what the book thinks of it."""
    told = emulator.post("clock", flush="true")
    need(told["pending"] == 0, "%d things are left to be told" % told["pending"])
    book = emulator.get("inspect/book", by="day")
    for name in ("forgeries_believed", "given_up", "not_entered"):
        need(book[name] == 0, "%s is %s" % (name, book[name]))
    dead = emulator.get("health")["counted"]["dead"]
    need(dead == 0, "%d dead letters" % dead)


def live(tenants):
    """All of them live at the same time."""
    lives = [tenant.life() for tenant in tenants]
    while lives:
        turns = {next(life, None) for life in lives}
        if turns == {None}:
            return
        emulator.post("clock", advance=turns.pop())


def reset(offset):
    emulator.post("reset", seed=a.seed + offset)


def alone(index, profiles):
    begun = time.monotonic()
    reset(index)
    since = emulator.now()
    emulator.post("chaos", profiles=profiles)
    tenant = Tenant(index, "alone-%d" % index, a.messages)
    live([tenant])
    settle()
    faults = {w["fault"] for w in emulator.get("inspect/webhooks", limit=1000)["webhooks"]}
    need(FAULTS.get(profiles, set()) <= faults, "of %s only %s was seen" % (FAULTS.get(profiles), faults))
    lived = time.monotonic()
    rows, sent = tenant.equal(since)
    return "%d messages, %d told as sent, %d rows equal, %.1f s to live and %.1f s to compare" % (
        tenant.sent, sent, rows, lived - begun, time.monotonic() - lived)


def side_by_side():
    """Each profile in an account of its own, two calm ones and two mixed ones, which share bodies."""
    global kept, since
    reset(len(a.profiles))
    since = emulator.now()
    kept = []
    for index, profiles in enumerate([*PROFILES, MIXED, MIXED, "none", "none"]):
        tenant = Tenant(index, "beside-%d" % index, max(a.messages // 10, 40))
        emulator.post("chaos", profiles=profiles, channel=tenant.channel)
        kept.append(tenant)
    live(kept)
    settle()
    equal = [tenant.equal(since) for tenant in kept]
    return "%d accounts, %d rows equal" % (len(kept), sum(rows for rows, _ in equal))


def killed():
    """What was acknowledged is answered as before by a process that knows nothing of the book."""
    emulator.process.kill()
    emulator.process.wait()
    emulator.start()
    for tenant in kept:
        for granularity, (start, end, before) in tenant.last.items():
            need(tenant.answered(granularity, start, end) == before, "%s: other answers after a restart" % tenant.key)
    emulator.stop()
    run = subprocess.run([a.program, "verify", "--data-dir", a.folder, "--json"], stdout=subprocess.PIPE, check=True)
    need(json.loads(run.stdout)["equal"], "verify found a difference")


emulator = Emulator()
emulator.start()
try:
    for index, profiles in enumerate(a.profiles):
        name = "all mixed" if profiles == MIXED else profiles
        S.check("the metrics are the book's: " + name, lambda: alone(index, profiles))
    S.check("the metrics are the book's: every profile beside the others", side_by_side)
    if a.folder:
        S.check("and after a kill, by a process without the book", killed)
    else:
        S.check("the emulator stops in order", emulator.stop)
finally:
    emulator.process.kill()
sys.exit(S.end())
