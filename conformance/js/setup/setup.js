"use strict";
// From an empty server to a connected channel in a browser, without JavaScript on the page: what a
// person sees at each step, by keyboard too, and that another site's form is not taken.
//   node setup.js PROGRAM CHROMIUM [FOLDER for pictures]
const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const [program, executablePath, pictures] = process.argv.slice(2);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "setup-"));
const FIXTURES = {
  numbers: [{ phone_number: "15550100011" }],
  templates: [{ code: "promo", language: "en", category: "marketing" }],
};
const running = [];
let passed = 0;

function pass(what) {
  passed += 1;
  console.log(`PASS ${what}`);
}

/** Starts the program; its ready line. */
async function start(args, env = {}) {
  const child = spawn(program, [...args, "--listen", "127.0.0.1:0", "--json"], {
    cwd: folder, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"],
  });
  running.push(child);
  for await (const line of readline.createInterface({ input: child.stdout })) return JSON.parse(line);
  throw new Error(`twoticks ${args[0]} did not start`);
}

function ask(...args) {
  return JSON.parse(execFileSync(program, [...args, "--json"], { cwd: folder, stdio: ["ignore", "pipe", "ignore"] }));
}

/** A link to a page, at the port that was taken. */
function link(endpoint, ...more) {
  const made = new URL(ask("key", "dashboard", ...more).dashboard);
  return `${endpoint}${made.pathname}${made.search}`;
}

async function main() {
  fs.writeFileSync(path.join(folder, "whatsapp.json"), JSON.stringify(FIXTURES));
  fs.writeFileSync(path.join(folder, "twoticks.toml"), '[log]\nfilter = "warn"\n');
  const whatsapp = await start(["emulate", "--fixtures", "whatsapp.json", "--memory"]);
  const secrets = [whatsapp.graph.access_token, whatsapp.app_secret];
  ask("init", "--channel", "cams-1", "--account", "Shop <b>");
  const { endpoint } = await start(["serve"], { TWOTICKS__GRAPH__URL: whatsapp.graph.url });

  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  running.push({ kill: () => browser.close() });
  const newContext = (more) => browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 1000 }, ...more });
  const context = await newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("requestfailed", (request) => complaints.push(request.url()));
  let picture = 0;
  const step = async (what, of = page) => {
    const html = await of.content();
    for (const secret of secrets) assert.ok(!html.includes(secret), `a secret is on the page: ${what}`);
    const wide = await of.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
    assert.ok(wide, `the page is wider than the window: ${what}`);
    picture += 1;
    if (pictures) await of.screenshot({ path: path.join(pictures, `setup-${String(picture).padStart(2, "0")}.png`), fullPage: true });
    pass(what);
  };

  // Whoever may look is told what would do.
  await page.goto(link(endpoint));
  await page.getByText("This channel is not connected with WhatsApp").waitFor();
  assert.equal(await page.getByRole("link", { name: "Connect it" }).count(), 0);
  await step("the overview of an empty server says that nothing is connected");
  await page.getByRole("navigation").getByRole("link", { name: "Setup" }).click();
  await page.getByText("You may look at this page, and not change anything").waitFor();
  assert.equal(await page.locator("form").count(), 0);
  await step("a link to look shows no form");

  // Whoever may set up is led to the form.
  await page.goto(link(endpoint, "--setup"));
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("link", { name: "Connect it" }).click();
  await page.getByRole("heading", { name: "Connect with WhatsApp" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Setup" }).getAttribute("aria-current"), "page");
  for (const label of ["Access token", "App secret"]) {
    const input = page.getByLabel(label);
    assert.deepEqual([await input.getAttribute("type"), await input.getAttribute("autocomplete")], ["password", "off"]);
  }
  assert.equal(await page.getByLabel("Callback URL").inputValue(), `${endpoint}/webhooks/whatsapp/cams-1`);
  assert.ok((await page.getByLabel("Verify token").last().inputValue()).length > 10);
  await step("a link that may set up leads from the overview to the form");

  // A wrong token, typed with the keyboard only.
  await page.getByLabel("WhatsApp Business Account ID").focus();
  await page.keyboard.type(whatsapp.graph.waba_id);
  await page.keyboard.press("Tab");
  await page.keyboard.type("EAAB-wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByRole("heading", { name: "Not connected" }).waitFor();
  const wrong = page.getByLabel("Access token");
  assert.equal(await wrong.getAttribute("aria-invalid"), "true");
  const described = (await wrong.getAttribute("aria-describedby")).split(" ");
  assert.match(await page.locator(`#${described[1]}`).innerText(), /Meta 190: the access token has expired or was revoked/);
  assert.equal(await page.evaluate("document.activeElement.id"), "access_token");
  assert.equal(await page.getByLabel("WhatsApp Business Account ID").inputValue(), whatsapp.graph.waba_id);
  assert.equal(await wrong.inputValue(), "");
  assert.ok(!(await page.content()).includes("EAAB-wrong"));
  await step("a wrong token is told with its field, which has the focus");

  await wrong.fill(whatsapp.graph.access_token);
  await page.getByLabel("App secret").fill(whatsapp.app_secret);
  await page.getByLabel("Public address of this server").fill(endpoint);
  await page.getByRole("button", { name: "Connect" }).click();
  await page.getByText("1 number and 1 template of the account").waitFor();
  await page.getByText("Nothing that is known of.").waitFor();
  await page.getByText(`${endpoint}/webhooks/whatsapp/cams-1`, { exact: true }).first().waitFor();
  assert.equal(new URL(page.url()).search, "?channel=cams-1");
  await step("the channel is connected, and nothing is missing");
  const before = await (await fetch(`${whatsapp.control}graph`)).text();
  await page.reload();
  assert.equal(await (await fetch(`${whatsapp.control}graph`)).text(), before, "loading the page again asks nothing");

  await page.getByRole("button", { name: "Read numbers and templates again" }).click();
  await page.getByText("1 number and 1 template of the account").waitFor();
  await page.getByRole("button", { name: "Look again" }).click();
  await page.getByText("WhatsApp was asked how the connection is.").waitFor();
  await step("it is read and looked at again");

  // The form of another site, in the same browser.
  const form = `<form method="post" action="${endpoint}/ui/setup"><input name="channel" value="cams-1">
    <input name="action" value="disconnect"><input name="token" value="AAAA"><button>Win</button></form>`;
  const evil = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end(form));
  await new Promise((done) => evil.listen(0, "127.0.0.1", done));
  running.push({ kill: () => evil.close() });
  for (const host of ["127.0.0.1", "localhost"]) {
    const other = await context.newPage();
    await other.goto(`http://${host}:${evil.address().port}/`);
    const answered = other.waitForResponse((response) => response.url() === `${endpoint}/ui/setup`);
    await other.getByRole("button").click();
    assert.equal((await answered).status(), 403);
    await other.close();
  }
  pass("another site's form is refused");

  // Small and dark.
  const small = await newContext({ colorScheme: "dark", viewport: { width: 375, height: 800 }, storageState: await context.storageState() });
  const phone = await small.newPage();
  await phone.goto(`${endpoint}/ui/setup`);
  await step("it fits a phone, in the dark", phone);

  await page.getByRole("link", { name: "Disconnect…" }).click();
  await page.getByRole("heading", { name: "Disconnect cams-1?" }).waitFor();
  await step("it asks before it disconnects");
  await page.getByRole("link", { name: "Keep it connected" }).click();
  await page.getByRole("link", { name: "Disconnect…" }).click();
  await page.getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("The channel is disconnected, and its token forgotten.").waitFor();
  await step("the channel is disconnected");
  assert.deepEqual(ask("channel", "list").map((channel) => channel.connected), [false]);
  // A refused form is one; nothing else is complained of, such as something that the page may not load.
  assert.deepEqual(complaints.filter((text) => !text.includes("422")), []);
  pass("the browser has nothing to complain of");
}

main().then(() => 0, (error) => { console.error("FAIL", error); return 1; }).then(async (status) => {
  console.log(`${passed} passed, ${status} failed`);
  for (const it of running.reverse()) {
    const ended = it.pid ? new Promise((done) => it.once("exit", done)) : undefined;
    await it.kill();
    await ended;
  }
  fs.rmSync(folder, { recursive: true, force: true });
  process.exit(status);
});
