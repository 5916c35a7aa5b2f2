#!/usr/bin/env python3
"""The Graph API as others see it: Meta's own client, a widely used one, a parser of webhooks, and Meta's description.

Starts `twoticks emulate`, connects a server of its own with it, asks and sends to both with
facebook_business and pywa, compares counts with what @kapso/whatsapp-cloud-api reads in the
webhooks, and has Prism check what that server asks against Meta's OpenAPI description.
"""
import argparse
import collections
import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings

from alibabacloud_cams20200606 import models as M
from alibabacloud_cams20200606.client import Client
from alibabacloud_tea_openapi import utils_models as OM
from facebook_business.adobjects.whatsappbusinessaccount import WhatsAppBusinessAccount
from facebook_business.api import FacebookAdsApi
from facebook_business.session import FacebookSession
import pywa
from pywa.types.templates import TemplateLanguage

from common import DAY, Suite, need

HERE = os.path.dirname(os.path.abspath(__file__))
CHANNEL, NAME = "cams-1", "spring_sale"
WAIT_SECONDS = 60

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--program", required=True, help="the twoticks program")
p.add_argument("--node-modules", required=True, help="where the packages of js/graph are installed")
p.add_argument("--meta", required=True, help="a folder with Meta's description and patch_meta_openapi.py; may be absent")
a = p.parse_args()
S = Suite("graph")
# facebook_business knows no fields of what it lists, and hands them on.
warnings.filterwarnings("ignore", message=".*does not allow field")
folders = contextlib.ExitStack()
FOLDER = folders.enter_context(tempfile.TemporaryDirectory())
ENV = {**os.environ, "TWOTICKS__LOG__FILTER": "warn"}


def until(what, ask):
    end = time.monotonic() + WAIT_SECONDS
    while True:
        got = ask()
        if got:
            return got
        need(time.monotonic() < end, "%s did not happen within %d seconds" % (what, WAIT_SECONDS))
        time.sleep(0.05)


def http_json(method, url, body=None, token=None):
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def written(name, text):
    path = os.path.join(FOLDER, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def cli(*args):
    run = subprocess.run([a.program, *args, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=FOLDER, env=ENV, text=True)
    need(run.returncode == 0, "%s: %s %s" % (" ".join(args[:2]), run.stdout, run.stderr))
    return json.loads(run.stdout)


class Program:
    """A twoticks program that runs, and its ready line."""

    def __init__(self, *args, env=None):
        self.log = os.path.join(FOLDER, args[0] + ".log")
        self.process = subprocess.Popen([a.program, *args, "--listen", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE,
                                        stderr=open(self.log, "a"), cwd=FOLDER, env={**ENV, **(env or {})}, text=True)
        folders.callback(self.kill)
        line = self.process.stdout.readline()
        need(line, "%s did not start: %s" % (args[0], open(self.log).read()[-400:]))
        self.ready = json.loads(line)
        self.endpoint = self.ready["endpoint"]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        self.process.terminate()
        need(self.process.wait(timeout=60) == 0, "did not stop in order")


def door(name, method="GET", **query):
    return http_json(method, "%s%s?%s" % (emulator.ready["control"], name, urllib.parse.urlencode(query)))


def serve(graph, **more):
    return Program("serve", env={"TWOTICKS__GRAPH__URL": graph, "TWOTICKS__GRAPH__MESSAGES_PER_SECOND": "200", **more})


emulator = Program("emulate", "--memory", "--fixtures", os.path.join(HERE, "..", "fixtures.json"))
GRAPH = emulator.ready["graph"]
URL, TOKEN, WABA, VERSION = (GRAPH[name] for name in ("url", "access_token", "waba_id", "version"))
NUMBER, NUMBER_ID = (emulator.ready["numbers"][0][name] for name in ("phone_number", "phone_number_id"))
APP_SECRET = emulator.ready["app_secret"]
key = cli("init", "--channel", CHANNEL)
server = serve(URL)
CODE = SIGN = ""  # of the template that is sent, once the channel is connected
recipients = iter(range(15550120000, 15550129999))


def to():
    return str(next(recipients))


# The official SDK at the server's own door.

def cams(name, **fields):
    client = Client(OM.Config(access_key_id=key["access_key_id"], access_key_secret=key["access_key_secret"], protocol="http",
                              endpoint=server.endpoint.removeprefix("http://"), read_timeout=30000))
    kind = "".join({"roimetric": "ROIMetric"}.get(part, part.capitalize()) for part in name.split("_"))
    body = getattr(client, name)(getattr(M, kind + "Request")(cust_space_id=CHANNEL, **fields)).body.to_map()
    need(body["Code"] == "OK", body)
    return body


def send(**fields):
    body = cams("send_chatapp_message", channel_type="whatsapp", from_=NUMBER, to=to(), **fields)
    need(body["MessageId"].startswith("wamid."), "no wamid: %s" % body)
    return body["MessageId"]


def send_template(**fields):
    return send(type="template", template_code=CODE, language="en", **fields)


def send_free(kind, content, **fields):
    return send(type="message", message_type=kind, content=json.dumps(content), **fields)


def metric():
    now = door("clock")["now"]
    span = dict(start=now - 3 * DAY, end=now + DAY, granularity="DAILY")
    rows = cams("get_chatapp_template_metric", template_code=CODE, language="en", **span).get("Data") or []
    phone = cams("get_chatapp_phone_number_metric", **span).get("Data") or []
    sums = [sum(r[name] for r in rows) for name in ("SentCount", "DeliveredCount", "ReadCount")]
    return sums, [sum(r[name] for r in phone if r["PhoneNumber"] == NUMBER) for name in ("SentCount", "DeliveredCount")]


def connect():
    said = cli("channel", "connect", CHANNEL, "--waba-id", WABA, "--access-token-file", written("token", TOKEN),
               "--app-secret-file", written("app-secret", APP_SECRET), "--callback-url", server.endpoint)
    need(said["missing"] == [], "missing: %s" % said["missing"])
    # Only what is told after it is counted; the clock says whole seconds.
    cams("enable_whatsapp_roimetric")
    # A template's code is its id at WhatsApp, one of each language.
    global CODE, SIGN
    CODE = next(t["TemplateCode"] for t in cams("list_chatapp_template")["ListTemplate"] if (t["TemplateName"], t["Language"]) == (NAME, "en"))
    SIGN = "tt1:%s:en" % CODE
    door("config", "POST", outcome="read")
    door("clock", "POST", advance="1m")
    return "%d numbers, %d templates" % (said["numbers"], said["templates"])


sent = {}  # wamid of what went out since the opt-in -> whether it is of the template


def of_template():
    return sum(sent.values())


def told():
    door("chaos", "POST", profiles="batch")
    door("clock", "POST", advance="12h")
    door("chaos", "POST", profiles="none")
    # Batches that were held back. Not further: what is a day ahead of the server's clock is not counted.
    door("clock", "POST", advance="2h")
    (of, delivered, read), (of_number, _) = metric()
    need((of, of_number) == (of_template(), len(sent)), "%d are counted for the template, %d for the number; sent were %d and %d" % (of, of_number, of_template(), len(sent)))
    need(delivered and read, "%d delivered, %d read" % (delivered, read))
    return "%d of the template, %d of the number" % (of, of_number)


# Meta's own client.

def facebook(url):
    FacebookSession.GRAPH = url
    return FacebookAdsApi(FacebookSession(access_token=TOKEN), api_version=VERSION)


def facebook_reads(url):
    api = facebook(url)
    account = WhatsAppBusinessAccount(WABA, api=api)
    numbers = list(account.get_phone_numbers(fields=["display_phone_number", "quality_rating"]))
    need({n["id"] for n in numbers} == {n["phone_number_id"] for n in emulator.ready["numbers"]}, numbers)
    templates = list(account.get_message_templates(fields=["name", "language", "status", "components"], params={"limit": 2}))
    need({(t["id"], t["language"]) for t in templates} and len(templates) == len(emulator.ready["templates"]), templates)
    # The id of one template and language is Meta's own.
    template = next(t["id"] for t in templates if t["name"] == NAME and t["language"] == "en")
    api.call("POST", (WABA,), params={"is_enabled_for_insights": "true"})
    now = door("clock")["now"] // 1000
    params = {"start": now // 86400 * 86400 - 3 * 86400, "end": now // 86400 * 86400 + 86400, "granularity": "DAILY", "template_ids": [template]}
    analytics = [dict(x) for x in account.get_template_analytics(params=params)]
    points = [point for x in analytics for point in x["data_points"]]
    got = sum(point["sent"] for point in points)
    need(got == of_template(), "template_analytics has %d sent, %d were: %s" % (got, of_template(), analytics))
    return "%d numbers, %d templates, %d data points" % (len(numbers), len(templates), len(points))


def facebook_sends(url, through):
    params = {"messaging_product": "whatsapp", "to": to(), "type": "template", "template": {"name": NAME, "language": {"code": "en"}}}
    if not through:
        params["biz_opaque_callback_data"] = SIGN
    body = facebook(url).call("POST", (NUMBER_ID, "messages"), params=params).json()
    need(body["messages"][0]["id"].startswith("wamid."), body)
    sent[body["messages"][0]["id"]] = True


# pywa.

def pywa_client(url, **more):
    wa = pywa.WhatsApp(phone_id=NUMBER_ID, token=TOKEN, api_version=VERSION.removeprefix("v"), **more)
    # It has no option for another address; its session has.
    wa.api._session.base_url = "%s/%s" % (url, VERSION)
    return wa


def pywa_sends(url, through):
    wa = pywa_client(url)
    template = wa.send_template(to=to(), name=NAME, language=TemplateLanguage.ENGLISH, params=[], tracker=None if through else SIGN)
    text = wa.send_message(to=to(), text="hello")
    need(template.id.startswith("wamid.") and text.id.startswith("wamid.") and template.id != text.id, "%s %s" % (template, text))
    sent.update({template.id: True, text.id: False})


class Receiver(http.server.BaseHTTPRequestHandler):
    """Hands everything to pywa, and keeps what came."""

    wa, seen, handshakes, statuses = None, [], [], []

    def log_message(self, *args):
        pass

    def answer(self, text, status):
        self.send_response(status)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        said = self.wa.webhook_challenge_handler(vt=query.get("hub.verify_token"), ch=query.get("hub.challenge"))
        self.handshakes.append(said[1])
        self.answer(*said)

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        signature = self.headers.get("X-Hub-Signature-256")
        said = self.wa.webhook_update_validator(raw, signature) or self.wa.webhook_update_handler(raw)
        self.seen.append((said[1], raw.decode(), signature))
        self.answer(*said)


def subscribe(uri, verify_token):
    return http_json("POST", "%s/%s/%s/subscribed_apps" % (URL, VERSION, WABA), {"override_callback_uri": uri, "verify_token": verify_token}, TOKEN)


def pywa_receives():
    wa = pywa_client(URL, verify_token="a verify token", app_secret=APP_SECRET, server=None)
    wa.add_handlers(pywa.handlers.MessageStatusHandler(lambda _, status: Receiver.statuses.append(status.status.value)))
    Receiver.wa = wa
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    folders.callback(listening.shutdown)
    uri = "http://127.0.0.1:%d/hook" % listening.server_address[1]
    try:
        subscribe(uri, "another verify token")
    except urllib.error.HTTPError:
        pass
    else:
        need(False, "a handshake that pywa refuses was taken for one")
    subscribe(uri, "a verify token")
    need(Receiver.handshakes == [403, 200], "handshakes: %s" % Receiver.handshakes)
    for _ in range(5):
        pywa_client(URL).send_template(to=to(), name=NAME, language=TemplateLanguage.ENGLISH, params=[], tracker=SIGN)
    door("clock", "POST", advance="12h")
    need(Receiver.seen and {status for status, _, _ in Receiver.seen} == {200}, "answers: %s" % [s for s, _, _ in Receiver.seen])
    # It hands on the first status of a webhook only.
    until("that pywa's handlers are told", lambda: Receiver.statuses)
    _, raw, signature = Receiver.seen[0]
    need(wa.webhook_update_validator(raw.encode() + b" ", signature) is not None, "pywa took a body that was not signed")
    return "%d webhooks, %d statuses" % (len(Receiver.seen), len(Receiver.statuses))


# @kapso/whatsapp-cloud-api.

def kapso(webhooks):
    run = subprocess.run(["node", os.path.join(HERE, "..", "js", "graph", "statuses.js")], stdout=subprocess.PIPE, check=True, text=True,
                         input=json.dumps({"app_secret": APP_SECRET, "webhooks": webhooks}), env={**os.environ, "NODE_PATH": a.node_modules})
    return json.loads(run.stdout)


def many():
    """What the metrics are made of comes in batches as well."""
    for _ in range(40):
        body = {"messaging_product": "whatsapp", "to": to(), "type": "template", "template": {"name": NAME, "language": {"code": "en"}}}
        answer = http_json("POST", "%s/graph/%s/%s/messages" % (server.endpoint, VERSION, NUMBER_ID), body, TOKEN)
        sent[answer["messages"][0]["id"]] = True


def read_by_kapso():
    """The webhooks that the server got, and the statuses that are in them."""
    webhooks = door("inspect/webhooks", limit=1000)["webhooks"]
    webhooks = [x for x in webhooks if x["callback"]]
    said = kapso([{"raw": json.dumps(x["body"])} for x in webhooks])["statuses"]
    return webhooks, said


def kapso_counts():
    webhooks, said = read_by_kapso()
    batch = max(x["updates"] for x in webhooks)
    need(batch > 10, "the biggest batch has %d updates" % batch)
    # Message by message, not status by status: what is told again is counted once.
    distinct = {(wamid, status) for wamid, status, _ in said}
    need({wamid for wamid, _ in distinct} == set(sent), "kapso has other messages than were sent")
    number = collections.Counter(status for _, status in distinct)
    template = collections.Counter(status for wamid, status in distinct if sent[wamid])
    theirs = [template[x] for x in ("sent", "delivered", "read")], [number[x] for x in ("sent", "delivered")]
    need(metric() == theirs, "kapso has %s, counted are %s" % (theirs, metric()))
    return "%d statuses in %d webhooks, up to %d in one" % (len(said), len(webhooks), batch)


def kapso_import():
    webhooks, said = read_by_kapso()
    lines = "".join(json.dumps({"webhook": x["body"], "accepted": x["at"]}) + "\n" for x in webhooks)
    run = subprocess.run([a.program, "import", "--dry-run", "--json", written("webhooks.ndjson", lines)], stdout=subprocess.PIPE, cwd=FOLDER, env=ENV, text=True)
    ours = []
    for line in map(json.loads, run.stdout.splitlines()):
        need(not line.get("dead"), line)
        ours += [(x["status"], x["time"] // 1000) for x in line.get("events", []) if x["kind"] == "status"]
    theirs = collections.Counter((status, second) for _, status, second in said)
    need(collections.Counter(ours) == theirs, "import --dry-run reads %d statuses, kapso %d" % (len(ours), len(said)))
    return "%d statuses" % len(said)


def kapso_signatures():
    seen = [{"raw": raw, "signature": signature} for _, raw, signature in Receiver.seen]
    need(seen, "nothing was received")
    got = kapso(seen)["signed"]
    need(got == len(seen), "%d of %d signatures are accepted" % (got, len(seen)))
    forged = [dict(x, raw=x["raw"] + " ") for x in seen]
    need(kapso(forged)["signed"] == 0, "a body that was not signed is accepted")
    return "%d webhooks" % len(seen)


# Meta's description, with Prism in front of it.

class Prism:
    def start(self):
        patch = os.path.join(a.meta, "patch_meta_openapi.py")
        source = os.path.join(a.meta, "business-messaging-api_v23.0.yaml")
        os.symlink(source, os.path.join(FOLDER, os.path.basename(source)))
        subprocess.run([sys.executable, patch], cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.log = "http://127.0.0.1:%d" % port, os.path.join(FOLDER, "prism.log")
        self.process = subprocess.Popen([os.path.join(a.node_modules, ".bin", "prism"), "mock", "-h", "127.0.0.1", "-p", str(port), "meta_openapi_patched.yaml"],
                                        stdout=open(self.log, "w"), stderr=subprocess.STDOUT, cwd=FOLDER, start_new_session=True)
        folders.callback(self.stop)
        until("that Prism listens", lambda: self.process.poll() is not None or "Prism is listening" in self.text())
        need(self.process.poll() is None, "Prism ended: %s" % self.text()[-400:])
        self.read = len(self.text())

    def text(self):
        with open(self.log) as file:
            return re.sub(r"\x1b\[[0-9;]*m", "", file.read())

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=30)

    def asked(self, what):
        """What Prism logs while `what` asks: every request has to pass. Its own examples may not.

        Meta's description has no `debug_token`, which is taken for somebody's profile."""
        self.read = len(self.text())
        what()
        new = until("that Prism logs the answer", lambda: (lambda t: "Responding with" in t and t)(self.text()[self.read:]))
        parts = [part for part in new.split("[HTTP SERVER]")[1:] if "/debug_token " not in part]
        failed = [part for part in parts if "passed the validation rules" not in part]
        need(parts and not failed, "%d of %d did not pass: %s" % (len(failed), len(parts), (failed or [new])[0][-600:]))
        return "%d validated" % len(parts)


prism = Prism()


def against_prism():
    global server
    server.stop()
    # Nobody asks for figures but who is told to: what Prism logs is of one check each.
    server = serve(prism.url, TWOTICKS__GRAPH__FIGURES_HOURS="0")


def for_marketing():
    """Connects the channel anew, which needs a Graph API that answers as one."""
    global server
    server.stop()
    server = serve(URL)
    cli("channel", "connect", CHANNEL, "--marketing-messages", "true")
    against_prism()


def reading(*command):
    """The requests of a command that reads; what it makes of Prism's examples is its own affair."""
    run = [a.program, *command, "--json"]
    return prism.asked(lambda: subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=FOLDER, env=ENV))


def marketing():
    passed = prism.asked(send_template)
    need("/marketing_messages" in prism.text()[prism.read:], "it went to another edge")
    return passed


def refused_by_prism():
    body = {"messaging_product": "whatsapp", "to": to(), "type": "template", "template": {"name": NAME}}
    try:
        http_json("POST", "%s/%s/%s/messages" % (prism.url, VERSION, NUMBER_ID), body, TOKEN)
    except urllib.error.HTTPError as e:
        need(e.code in (400, 422), "answered %d" % e.code)
    else:
        need(False, "a template without a language was taken")


FREE = [
    ("text", {"text": "hello"}),
    ("text with a preview", {"text": "see https://example.com", "previewUrl": True}),
    ("image", {"link": "https://example.com/a.png", "caption": "a picture"}),
    ("document", {"link": "https://example.com/a.pdf", "fileName": "a.pdf"}),
    ("location", {"latitude": "52.5", "longitude": "13.4", "name": "Berlin", "address": "Mitte"}),
    ("interactive", {"type": "button", "body": {"text": "Well?"}, "action": {"buttons": [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]}}),
]

S.check("a server connects with the emulator, nothing is missing", connect)
S.check("facebook_business reads the emulator", lambda: facebook_reads(URL))
S.check("facebook_business sends to the emulator", lambda: facebook_sends(URL, False))
S.check("facebook_business sends through the server", lambda: facebook_sends(server.endpoint + "/graph", True))
S.check("pywa sends to the emulator", lambda: pywa_sends(URL, False))
S.check("pywa sends through the server", lambda: pywa_sends(server.endpoint + "/graph", True))
S.check("the SDK sends through the server", lambda: sent.update({send_template(): True}))
S.check("forty more through the server", many)
S.check("all of it is counted for its template", told)
S.check("facebook_business reads through the server", lambda: facebook_reads(server.endpoint + "/graph"))
S.check("template_analytics of the emulator agree", lambda: facebook_reads(URL))
S.check("@kapso/whatsapp-cloud-api reads as many statuses as are counted", kapso_counts)
S.check("import --dry-run reads the same statuses", kapso_import)
S.check("pywa accepts handshake and signed webhooks", pywa_receives)
S.check("@kapso/whatsapp-cloud-api accepts the signatures", kapso_signatures)
if not os.path.isfile(os.path.join(a.meta, "business-messaging-api_v23.0.yaml")):
    print("!! There is no description of Meta's in %s: nothing is checked against it." % a.meta)
    S.skip("requests against Meta's description", "no %s" % a.meta)
else:
    S.check("Prism starts with Meta's description, patched", prism.start)
    S.check("it refuses a template without a language", refused_by_prism)
    S.check("the server starts again, with Prism for WhatsApp", against_prism)
    S.check("a template", lambda: prism.asked(send_template))
    S.check("a template with payloads", lambda: prism.asked(lambda: send_template(payload=["a", "b"])))
    for name, content in FREE:
        S.check(name, lambda n=name, c=content: prism.asked(lambda: send_free(n.split()[0], c)))
    S.check("an answer", lambda: prism.asked(lambda: send_free("text", {"text": "hello"}, context_message_id="wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBJCOTY3NDc0NDFDRUI3NTA0Q0UA")))
    S.check("numbers and templates", lambda: reading("channel", "sync", CHANNEL))
    S.check("Meta's figures", lambda: reading("reconcile", "--sync"))
    S.check("the channel is set for the Marketing Messages API", for_marketing)
    S.check("a template by the Marketing Messages API", marketing)
    S.check("a free-form message goes as before", lambda: prism.asked(lambda: send_free("text", {"text": "hello"})))
    S.check("Prism stops", prism.stop)
S.check("the server stops in order", lambda: server.stop())
S.check("verify finds no difference", lambda: need(cli("verify")["equal"], "verify found a difference"))
S.check("the emulator stops in order", lambda: emulator.stop())
folders.close()
sys.exit(S.end())
