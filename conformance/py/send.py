#!/usr/bin/env python3
"""Sends a few messages with the first template and number of a ready line: send.py READY."""
import json
import sys

from alibabacloud_cams20200606 import models as M
from alibabacloud_cams20200606.client import Client
from alibabacloud_tea_openapi import utils_models as OM

ready = json.loads(sys.argv[1])
key, template = ready["admin"], ready["templates"][0]
client = Client(OM.Config(access_key_id=key["access_key_id"], access_key_secret=key["access_key_secret"],
                          endpoint=ready["endpoint"].removeprefix("http://"), protocol="http"))
L = M.SendChatappMassMessageRequestSenderList
body = client.send_chatapp_mass_message(M.SendChatappMassMessageRequest(
    channel_type="whatsapp", cust_space_id=ready["channel"], from_=ready["numbers"][0]["phone_number"],
    template_code=template["code"], language=template["language"],
    sender_list=[L(to="8613900%06d" % i) for i in range(25)])).body
assert body.code == "OK", body.to_map()
print("sent to 25")
