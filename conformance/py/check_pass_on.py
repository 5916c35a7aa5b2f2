#!/usr/bin/env python3
"""Receipts and webhooks, passed on to a receiver of Python's own as docs/guide/pass-on.md has it.

Starts `twoticks emulate`, orders receipts with the newest SDK, sends a template that is tapped, and
verifies every post with the guide's own functions, the one in Python and the one in Node.js.
"""
import argparse
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from alibabacloud_cams20200606 import models as M
from alibabacloud_cams20200606.client import Client
from alibabacloud_tea_openapi import utils_models as OM

from common import Suite, need

GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/guide/pass-on.md")
NUMBER, TO, TEMPLATE = "15550100011", "15550109999", "promo"
WAIT_SECONDS = 60

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--program", required=True, help="the twoticks program")
a = p.parse_args()
S = Suite("pass-on")
text = open(GUIDE, encoding="utf-8").read()
own = {}
exec(re.search(r"```python\n(import hashlib.*?)```", text, re.S).group(1), own)  # noqa: S102 - our own guide
is_ours, javascript = own["is_ours"], re.search(r"```js\n(.*?)```", text, re.S).group(1)
posts = []


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        posts.append((self.path, self.headers, self.rfile.read(int(self.headers["content-length"]))))
        answer = b'{"code":0,"msg":"ok"}'
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
URL = "http://127.0.0.1:%d" % receiver.server_port
folder = tempfile.TemporaryDirectory()
data, fixtures = os.path.join(folder.name, "data"), os.path.join(folder.name, "fixtures.json")
button = {"type": "quick_reply", "text": "Yes"}
template = {"code": TEMPLATE, "language": "en", "category": "marketing", "buttons": [button]}
with open(fixtures, "w", encoding="utf-8") as file:
    json.dump({"numbers": [{"phone_number": NUMBER}], "templates": [template]}, file)
server = subprocess.Popen([a.program, "emulate", "--listen", "127.0.0.1:0", "--json", "--data-dir", data, "--fixtures", fixtures],
                          stdout=subprocess.PIPE, text=True, env={**os.environ, "TWOTICKS__LOG__FILTER": "error"})
ready = json.loads(server.stdout.readline())
key, space = ready["admin"], ready["channel"]
client = Client(OM.Config(access_key_id=key["access_key_id"], access_key_secret=key["access_key_secret"],
                          endpoint=ready["endpoint"].split("//")[1], protocol="http"))


def cli(*args):
    done = subprocess.run([a.program, *args, "--data-dir", data, "--json"], capture_output=True, text=True)
    need(done.returncode == 0, done.stderr)
    return json.loads(done.stdout)


def door(path):
    request = urllib.request.Request(ready["control"] + path, b"", method="POST")
    with urllib.request.urlopen(request, timeout=60):
        pass


def reports(path):
    return [report for where, _, body in list(posts) if where == path for report in json.loads(body)]


def order():
    client.update_account_webhook(M.UpdateAccountWebhookRequest(
        cust_space_id=space, http_flag="Y", queue_flag="N", status_callback_url=URL + "/status"))
    client.update_phone_webhook(M.UpdatePhoneWebhookRequest(
        cust_space_id=space, phone_number=NUMBER, http_flag="Y", queue_flag="N", up_callback_url=URL + "/inbound"))
    listed = client.query_chatapp_phone_numbers(M.QueryChatappPhoneNumbersRequest(cust_space_id=space))
    number = listed.body.phone_numbers[0]
    need((number.status_callback_url, number.up_callback_url) == (URL + "/status", URL + "/inbound"), str(number.to_map()))


def refuse():
    try:
        client.update_account_webhook(M.UpdateAccountWebhookRequest(cust_space_id=space, queue_flag="Y"))
    except Exception as error:  # noqa: BLE001 - the SDK's own class
        need(error.code == "InvalidQueueFlag", "%s" % error.code)
    else:
        need(False, "a queue was taken")


def told():
    door("config?outcome=tapped")
    sent = client.send_chatapp_message(M.SendChatappMessageRequest(
        cust_space_id=space, channel_type="whatsapp", type="template", template_code=TEMPLATE, language="en",
        from_=NUMBER, to=TO, payload=["more"]))
    door("clock?advance=3d")
    end = time.monotonic() + WAIT_SECONDS
    while len(reports("/status")) < 3 or not reports("/inbound"):
        need(time.monotonic() < end, "%d statuses, %d messages" % (len(reports("/status")), len(reports("/inbound"))))
        time.sleep(0.05)
    statuses = {report["Status"] for report in reports("/status")}
    need(statuses == {"Sent", "Delivered", "Read"}, str(statuses))
    for report in reports("/status"):
        found = [report[name] for name in ("MessageId", "From", "To", "TemplateCode", "Language", "MsgFrameType")]
        need(found == [sent.body.message_id, NUMBER, TO, TEMPLATE, "en", "template"], str(report))
    tap = reports("/inbound")[0]
    need((tap["Type"], tap["CustSpaceId"], json.loads(tap["Message"])) == ("REPLY", space, {"text": "Yes", "payload": "more"}), str(tap))


def verify(keys):
    for path, headers, body in list(posts):
        signature, ours = headers["x-twoticks-signature-256"], keys[path]
        need(is_ours(ours, body, signature) and not is_ours("another", body, signature), "%s in Python" % path)
        need(not is_ours(ours, body + b" ", signature) and not is_ours(ours, body, None), "%s in Python" % path)
        calls = "isOurs(%s, b, %s), isOurs('another', b, undefined)" % (json.dumps(ours), json.dumps(signature))
        script = javascript + "\nconst b = require('node:fs').readFileSync(0); console.log(%s);" % calls
        said = subprocess.run(["node", "-e", script], input=body, capture_output=True)
        need(said.stdout.strip() == b"true false", "%s in Node.js: %s" % (path, said.stdout + said.stderr))
        if path == "/webhooks":
            need(is_ours(ready["app_secret"], body, headers["x-hub-signature-256"]), "signed as WhatsApp does")
    need({path for path, _, _ in posts} == set(keys), "somebody got nothing")


def stop():
    server.terminate()
    need(server.wait(30) == 0, "status %s" % server.returncode)


try:
    S.check("the newest SDK orders receipts", order)
    S.check("a queue is refused", refuse)
    keys = dict.fromkeys(("/status", "/inbound"), cli("channel", "pass-on", "sign", space)["key"])
    keys["/webhooks"] = cli("channel", "pass-on", "webhooks", space, URL + "/webhooks", "--sign")["key"]
    S.check("a template that is tapped is told as CAMS tells it", told)
    S.check("the guide's functions verify every post, and no other", lambda: verify(keys))
    S.check("it stops in order", stop)
finally:
    server.kill()
    folder.cleanup()
sys.exit(S.end())
