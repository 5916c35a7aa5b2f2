'use strict';
/* What @kapso/whatsapp-cloud-api says of webhooks. Standard input: {"app_secret", "webhooks": [{"raw", "signature"?}]};
   standard output: how many signatures it accepts, and [wamid, status, second] of every status of every webhook. */
const fs = require('fs');
const { normalizeWebhook, verifySignature } = require('@kapso/whatsapp-cloud-api/server');

const { app_secret: appSecret, webhooks } = JSON.parse(fs.readFileSync(0, 'utf8'));
const said = { signed: 0, statuses: [] };
for (const { raw, signature } of webhooks) {
  if (signature && verifySignature({ appSecret, rawBody: Buffer.from(raw), signatureHeader: signature })) said.signed += 1;
  for (const it of normalizeWebhook(JSON.parse(raw)).statuses) said.statuses.push([it.id, it.status, Number(it.timestamp)]);
}
process.stdout.write(JSON.stringify(said));
