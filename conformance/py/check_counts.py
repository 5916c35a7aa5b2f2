#!/usr/bin/env python3
"""Sends with the real SDK, tells the statuses by signed webhooks, and compares both metrics with a model.

Two tenants side by side on one server; every webhook batch is repeated, reordered and cut anew. The
server is killed in between. The model here is the simplest one that the counting rules allow.
"""
import argparse
import concurrent.futures
import hashlib
import hmac
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request

from alibabacloud_cams20200606 import models as M
from alibabacloud_cams20200606.client import Client
from alibabacloud_tea_openapi import utils_models as OM

from common import Suite, need

HALF_HOUR, DAY = 1800, 86400
TEMPLATE, UTILITY = "4000000000000001", "4000000000000002"

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--program", required=True, help="the twoticks program")
p.add_argument("--folder", required=True, help="an empty or absent folder for its data")
p.add_argument("--seed", type=int, default=20261123)
a = p.parse_args()
a.program, a.folder = os.path.abspath(a.program), os.path.abspath(a.folder)
S = Suite("counts")
rnd = random.Random(a.seed)
DATA = os.path.join(a.folder, "data")
os.makedirs(a.folder, exist_ok=True)


def cli(*args):
    run = subprocess.run([a.program, *args, "--data-dir", DATA, "--json"], stdout=subprocess.PIPE, check=True, cwd=a.folder)
    return json.loads(run.stdout)


class Graph(http.server.BaseHTTPRequestHandler):
    """A Graph API that takes every message and knows of nothing else; its statuses are told below."""

    protocol_version = "HTTP/1.1"
    count, lock = 0, threading.Lock()

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"data": []})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with Graph.lock:
            Graph.count += 1
            wamid = "wamid.%d" % Graph.count
        self.answer({"messaging_product": "whatsapp", "messages": [{"id": wamid}]})

    def log_message(self, *_):
        pass


graph = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Graph)
threading.Thread(target=graph.serve_forever, daemon=True).start()
ENVIRONMENT = {**os.environ, "TWOTICKS__GRAPH__URL": "http://127.0.0.1:%d" % graph.server_port,
               "TWOTICKS__GRAPH__MESSAGES_PER_SECOND": "1000"}


class Server:
    def start(self):
        self.process = subprocess.Popen([a.program, "serve", "--listen", "127.0.0.1:0", "--data-dir", DATA, "--json"],
                                        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=open(os.path.join(a.folder, "serve.log"), "a"), cwd=a.folder, text=True)
        line = self.process.stdout.readline()
        need(line, "the server did not start: see serve.log")
        self.endpoint = json.loads(line)["endpoint"].removeprefix("http://")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        need(self.process.wait(timeout=60) == 0, "the server did not stop in order")


class Tenant:
    """An account with a channel, and what the model knows of its messages."""

    def __init__(self, name, number, number_id):
        self.name, self.number, self.number_id, self.opt_in = name, number, number_id, None
        account = cli("key", "account", "add", name)["account"]
        key = cli("key", "add", "--account", account)
        self.ak, self.sk = key["access_key_id"], key["access_key_secret"]
        channel = cli("channel", "add", "cams-" + name, "--account", account)
        self.channel, self.app_secret = channel["channel"], channel["app_secret"]
        cli("channel", "number", "add", number, "--phone-number-id", number_id, "--channel", self.channel)
        for code, category in ((TEMPLATE, "marketing"), (UTILITY, "utility")):
            cli("channel", "template", "add", code, "--channel", self.channel, "--language", "en", "--category", category,
                "--name", "t" + code, "--button", "quick_reply:Yes", "--button", "quick_reply:No")
        self.template = {}   # wamid -> template code or None
        self.told = {}       # wamid -> {status: earliest second}
        self.taps = {}       # inbound id -> (second, wamid, button)

    def client(self):
        return Client(OM.Config(access_key_id=self.ak, access_key_secret=self.sk, endpoint=server.endpoint, protocol="http", read_timeout=30000))

    def send(self, code=TEMPLATE):
        k = dict(channel_type="whatsapp", from_=self.number, to="15550%06d" % rnd.randrange(10**6), cust_space_id=self.channel)
        if code:
            k.update(type="template", template_code=code, language="en", template_params={"name": "x"})
        else:
            k.update(type="message", message_type="text", content='{"text":"hello"}')
        body = self.client().send_chatapp_message(M.SendChatappMessageRequest(**k)).body
        need(body.code == "OK", body.to_map())
        self.template[body.message_id] = code
        return body.message_id

    def mass(self, n):
        L = M.SendChatappMassMessageRequestSenderList
        body = self.client().send_chatapp_mass_message(M.SendChatappMassMessageRequest(
            channel_type="whatsapp", template_code=TEMPLATE, language="en", from_=self.number, cust_space_id=self.channel,
            sender_list=[L(to="15551%06d" % i, template_params={"name": "Recipient %d" % i, "code": "%06d" % i}) for i in range(n)])).body
        need(body.code == "OK", body.to_map())
        patience = time.monotonic() + 60
        while True:  # they go out by themselves
            listed = cli("message", "list", "--group", body.group_message_id, "--channel", self.channel)
            if not any("waits" in x for x in listed):
                break
            need(time.monotonic() < patience, "some of %d recipients still wait" % n)
        need(len({x["to"] for x in listed}) == n, "%d of %d recipients are listed" % (len(listed), n))
        wamids = [x["message_id"] for x in listed]
        need(len(set(wamids)) == n, "message ids repeat")
        self.template.update((w, TEMPLATE) for w in wamids)
        return wamids

    def metrics(self, granularity, start, end):
        phone = self.client().get_chatapp_phone_number_metric(M.GetChatappPhoneNumberMetricRequest(
            cust_space_id=self.channel, start=start, end=end, granularity=granularity)).body.to_map()
        template = self.client().get_chatapp_template_metric(M.GetChatappTemplateMetricRequest(
            cust_space_id=self.channel, start=start, end=end, granularity=granularity, template_code=TEMPLATE, language="en")).body.to_map()
        need(phone["Code"] == template["Code"] == "OK", "%s %s" % (phone, template))
        rows = {(r["Start"], r["End"]): (r["SentCount"], r["DeliveredCount"]) for r in phone.get("Data") or []}
        need(all(r["PhoneNumber"] == self.number for r in phone.get("Data") or []), "a row of another number")
        cells = {}
        for r in template.get("Data") or []:
            clicks = {c["ButtonContent"]: c["Count"] for c in r.get("Cliented") or []}
            cells[(r["Start"], r["End"])] = (r["SentCount"], r["DeliveredCount"], r["ReadCount"], tuple(sorted(clicks.items())))
        return rows, cells

    def model(self, granularity):
        width = DAY if granularity == "DAILY" else HALF_HOUR
        phone, template = {}, {}

        def count(where, second, slot, by=1):
            start = second // width * width * 1000
            row = where.setdefault((start, start + width * 1000), {})
            row[slot] = row.get(slot, 0) + by
        if self.opt_in is None:
            return {}, {}
        for wamid, told in self.told.items():
            first = lambda *names: min([told[n] for n in names if n in told], default=None)  # noqa: E731
            sent, delivered, read = first("sent", "delivered", "read"), first("delivered", "read"), first("read")
            if sent is None or sent < self.opt_in:
                continue
            for slot, second in (("sent", sent), ("delivered", delivered), ("read", read)):
                if second is not None:
                    count(phone, second, slot)
                    if self.template.get(wamid) == TEMPLATE:
                        count(template, second, slot)
            if self.template.get(wamid) == TEMPLATE:
                for second, of, button in self.taps.values():
                    if of == wamid:
                        count(template, second, button)
        # A row in which every count is zero is left out: the number's rows do not show reads.
        rows = {k: (v.get("sent", 0), v.get("delivered", 0)) for k, v in phone.items() if "sent" in v or "delivered" in v}
        cells = {k: (v.get("sent", 0), v.get("delivered", 0), v.get("read", 0), tuple(sorted((b, v[b]) for b in ("Yes", "No") if b in v)))
                 for k, v in template.items()}
        return rows, cells


def life(tenant, wamid, begin):
    """Invented statuses and taps of a message: some missing, some told twice with other times."""
    out = []

    def tell(status, second):
        known = tenant.told.setdefault(wamid, {})
        known[status] = min(second, known.get(status, second))
        s = {"id": wamid, "status": status, "timestamp": str(second), "recipient_id": "15550000000"}
        if status == "failed":
            s["errors"] = [{"code": 131026, "title": "Message undeliverable"}]
        if status in ("delivered", "read"):
            s["pricing"] = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "marketing"}
        out.append(("statuses", s))
    second = begin + rnd.randrange(0, 6 * 3600)
    fate = rnd.random()
    if fate < 0.08:
        tell("failed", second + 5)
        if rnd.random() < 0.3:
            tell("sent", second)
        return out
    if rnd.random() < 0.9:
        tell("sent", second)
    second += rnd.randrange(1, 1200)
    if fate < 0.9:
        if rnd.random() < 0.8:
            tell("delivered", second)
            if rnd.random() < 0.2:
                tell("delivered", second + rnd.randrange(-300, 4000))
        if rnd.random() < 0.6:
            second += rnd.randrange(1, 9000)
            tell("read", second)
            for n in range(rnd.choice((0, 0, 1, 2))):
                tap = "wamid.in.%s.%d.%d" % (tenant.name, len(tenant.taps), n)
                button = rnd.choice(("Yes", "No"))
                second += rnd.randrange(1, 600)
                tenant.taps[tap] = (second, wamid, button)
                out.append(("messages", {"from": "15550000000", "id": tap, "timestamp": str(second), "type": "button",
                                         "context": {"from": tenant.number, "id": wamid}, "button": {"payload": button, "text": button}}))
    return out


def body(tenant, updates):
    value = {"messaging_product": "whatsapp", "metadata": {"display_phone_number": tenant.number, "phone_number_id": tenant.number_id}}
    for kind, update in updates:
        value.setdefault(kind, []).append(update)
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}).encode()


def post(raw, secret, path="/webhooks/whatsapp"):
    signature = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    request = urllib.request.Request("http://" + server.endpoint + path, raw, {"X-Hub-Signature-256": signature, "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        need(answer.status == 200, "webhook answered %d" % answer.status)


def tell(tenant, updates):
    """Everything twice, shuffled, in batches of 1 to 1,000, eight at a time."""
    updates = updates + updates
    rnd.shuffle(updates)
    batches = []
    while updates:
        size = rnd.choice((1, 2, 17, 300, 1000))
        batches.append(updates[:size])
        del updates[:size]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda batch: post(body(tenant, batch), tenant.app_secret), batches))


def equal(tenant):
    now = int(time.time())
    start, end = (now // DAY - 2) * DAY * 1000, (now // DAY + 3) * DAY * 1000
    for granularity in ("DAILY", "HALF_HOUR"):
        got, want = tenant.metrics(granularity, start, end), tenant.model(granularity)
        for what, g, w in zip(("phone", "template"), got, want):
            keys = sorted(k for k in set(g) | set(w) if g.get(k) != w.get(k))
            need(not keys, "%s %s %s: %d rows differ, first %s: answered %s, model %s" % (tenant.name, what, granularity, len(keys), keys[:1], keys and g.get(keys[0]), keys and w.get(keys[0])))
    return "%d messages, %d rows" % (len(tenant.told), len(got[0]) + len(got[1]))


cli("init")
tenants = [Tenant("alpha", "15550100001", "700000000000001"), Tenant("beta", "15550100002", "700000000000002")]
server = Server()
server.start()
with open(os.path.join(a.folder, "token"), "w") as token:
    token.write("a-token")
for number, tenant in enumerate(tenants):
    cli("channel", "connect", tenant.channel, "--waba-id", "30000%d" % number, "--access-token-file", token.name)


def before_opt_in():
    for tenant in tenants:
        wamids = [tenant.send(code) for code in (TEMPLATE, UTILITY, None) for _ in range(5)]
        begin = int(time.time()) - 8 * 3600
        tell(tenant, [u for w in wamids for u in life(tenant, w, begin)])
        need(tenant.metrics("DAILY", (begin - DAY) * 1000, (begin + 3 * DAY) * 1000) == ({}, {}), "rows before the opt-in")


def opt_in():
    for tenant in tenants:
        lower = int(time.time())
        need(tenant.client().enable_whatsapp_roimetric(M.EnableWhatsappROIMetricRequest(cust_space_id=tenant.channel)).body.code == "OK", "not enabled")
        # Nothing is told between the two readings of the clock, so either is the opt-in to the model.
        tenant.opt_in, tenant.upper = lower, int(time.time()) + 1


def after_opt_in():
    for tenant in tenants:
        wamids = [tenant.send(code) for code in (TEMPLATE, UTILITY, None) for _ in range(20)] + tenant.mass(1000)
        tell(tenant, [u for w in wamids for u in life(tenant, w, tenant.upper)])


def statuses_before_the_send_is_known():
    for tenant in tenants:
        stranger = "wamid.unknown.%s" % tenant.name
        tell(tenant, life(tenant, stranger, tenant.upper))


def foreign_space():
    for tenant, other in (tenants, tenants[::-1]):
        try:
            tenant.client().get_chatapp_phone_number_metric(M.GetChatappPhoneNumberMetricRequest(cust_space_id=other.channel, start=0, end=1))
        except Exception as e:  # noqa: BLE001
            need(getattr(e, "code", None) == "Unknown.ResourceOwnerId", "%s" % e)
        else:
            need(False, "the space of another account was answered")


def foreign_signature():
    one, other = tenants
    told = {w: dict(t) for w, t in one.told.items()}
    taps = dict(one.taps)
    updates = [u for w in list(one.told)[:50] for u in life(one, w, one.upper)]
    one.told, one.taps = told, taps
    post(body(one, updates), other.app_secret)


def killed():
    server.kill()
    server.start()


S.check("before the opt-in nothing is answered", before_opt_in)
S.check("both tenants enable", opt_in)
S.check("what came before stays out", lambda: "; ".join(equal(t) for t in tenants))
S.check("sends, 1,000 recipients among them, repeated and reordered webhooks", after_opt_in)
S.check("both metrics answer what the model says", lambda: "; ".join(equal(t) for t in tenants))
S.check("statuses of a message that nobody sent count for the number", statuses_before_the_send_is_known)
S.check("both metrics still answer what the model says", lambda: "; ".join(equal(t) for t in tenants))
S.check("the space of another account is refused", foreign_space)
S.check("a signature does not speak for another's number", foreign_signature)
S.check("nothing changed by it", lambda: "; ".join(equal(t) for t in tenants))
S.check("the server is killed and starts again", killed)
S.check("nothing acknowledged is missing", lambda: "; ".join(equal(t) for t in tenants))
S.check("verify finds no difference while it runs", lambda: need(cli("verify")["equal"], "verify found a difference"))
S.check("the server stops in order", server.stop)
S.check("verify finds no difference", lambda: need(cli("verify")["equal"], "verify found a difference"))
sys.exit(S.end())
