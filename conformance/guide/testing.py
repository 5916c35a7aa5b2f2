#!/usr/bin/env python3
"""Checks docs/guide/testing.md against the program.

Its tables are held against what the program lists itself, its curl lines, its pytest and its Jest
examples are run as they stand there, its Java, Go and YAML are checked as far as text can be. To add
a door, an option, a field or a profile, add it to the guide: a row that is missing or that nothing
stands behind fails here.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import yaml

from check import HERE, LANGUAGES, WORK, blocks, check_names, check_syntax, need
from common import Suite

GUIDE = os.path.join(HERE, "..", "..", "docs", "guide", "testing.md")
BIN = os.path.join(WORK, "testing", "bin")
SECONDS_MAX = 120
# What every command takes, and the guide does not tell again.
GLOBAL_OPTIONS = {"--config", "--data-dir", "--help"}
TEXTS = {"java": "ShopTest.java", "go": "shop_test.go"}


class Emulator:
    """A running emulator, asked without any of the code that the guide shows."""

    def __init__(self, program):
        command = [program, "emulate", "--memory", "--any-key", "--listen", "127.0.0.1:0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit("`emulate` did not start: %s" % self.process.communicate()[1])
        self.ready = json.loads(line)
        self.endpoint = self.ready["endpoint"]

    def ask(self, method, door, body=None):
        """The status and the answer."""
        request = urllib.request.Request(self.endpoint + "/_twoticks/" + door, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def known(self, method, door, body=None):
        """The words that a refusal says there are."""
        status, answer = self.ask(method, door, body)
        need(status == 400, "%s %s was not refused: %r" % (method, door, answer))
        return set(re.findall(r"`([^`]+)`", answer["error"].split(" at line ")[0])) - {"zzz"}

    def stop(self):
        self.process.terminate()
        self.process.communicate()
        return self.process.returncode


def table(guide, head):
    """The cells of every row of the table that begins with `head`."""
    found = guide.split("\n" + head + "\n")
    need(len(found) == 2, "the guide has no single table `%s`" % head)
    rows = []
    for line in found[1].split("\n")[1:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def same(told, known, what):
    told, known = set(told), set(known)
    need(told == known, "%s: the guide lacks %s and has in excess %s" % (what, sorted(known - told), sorted(told - known)))
    return "%d %s" % (len(known), what)


def check_options(guide, program):
    shown = subprocess.run([program, "emulate", "--help"], capture_output=True, text=True, check=True).stdout
    options = re.findall(r"^\s+(?:-\w, )?(--[\w-]+)", shown, re.M)
    told = [words(row[0])[0].split(" ")[0] for row in table(guide, "| option | what it does |")]
    return same(told, set(options) - GLOBAL_OPTIONS, "options")


def check_ready_line(guide, emulator):
    told = [word for row in table(guide, "| field | what it is |") for word in words(row[0])]
    return same(told, emulator.ready, "fields of the ready line")


def check_doors(guide, block, emulator):
    curls = re.findall(r'^curl (-X POST )?"\$EMULATOR(/_twoticks/[\w/]*)', block, re.M)
    shown = {("POST" if post else "GET", path) for post, path in curls} - {("GET", "/_twoticks/")}
    _, listed = emulator.ask("GET", "")
    same(shown, {(method, door["path"]) for door in listed for method in door["methods"]}, "curl lines")
    rows = {words(row[0])[0]: row[1] for row in table(guide, "| door | parameters |")}
    same(rows, [door["path"] for door in listed], "doors")
    for door in listed:
        name = door["path"].removeprefix("/_twoticks/")
        parameters = emulator.known(door["methods"][0], name + "?zzz=1")
        missing = sorted(parameters - set(words(rows[door["path"]])))
        need(not missing, "the row of %s does not say %s" % (door["path"], missing))
    return "%d doors" % len(listed)


def check_curls(block, emulator):
    strict = 'curl() { command curl --silent --show-error --fail-with-body "$@" || exit 1; }\n'
    env = {**os.environ, "EMULATOR": emulator.endpoint}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", strict + block], env=env,
                          capture_output=True, text=True, timeout=SECONDS_MAX)
    need(done.returncode == 0, "exit status %d: %s" % (done.returncode, (done.stdout + done.stderr).strip()[-400:]))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return "%d answers" % len(answers)


def check_fixtures(guide, emulator):
    told, inside = {}, None
    for row in table(guide, "| list | field | what it is |"):
        inside = words(row[0])[0] if row[0] else inside
        told.setdefault(inside, []).append((words(row[1])[0], row[2]))
    same(told, emulator.known("POST", "fixtures", {"zzz": 1}), "lists of a fixture")
    for inside, fields in told.items():
        known = emulator.known("POST", "fixtures", {inside: [{"zzz": 1}]})
        same([name for name, _ in fields], known, "fields of `%s`" % inside)
    about = dict(told["templates"])
    template = {"code": "a", "language": "en", "category": "utility"}
    for name, row in (("category", about["category"]), ("status", about["status"])):
        known = emulator.known("POST", "fixtures", {"templates": [{**template, name: "zzz"}]})
        need(known <= set(words(row)), "the row of `%s` does not say all of %s" % (name, sorted(known)))
    button = {"buttons": [{"zzz": 1}]}
    need(emulator.known("POST", "fixtures", {"templates": [{**template, **button}]}) == {"type", "text"},
         "buttons have other fields than the guide says")
    button = {"buttons": [{"type": "zzz", "text": "x"}]}
    known = emulator.known("POST", "fixtures", {"templates": [{**template, **button}]}) - {"type"}
    need(known <= set(words(about["buttons"])), "the row of `buttons` does not say all of %s" % sorted(known))
    return "%d fields" % sum(len(fields) for fields in told.values())


def check_outcomes(guide, emulator):
    told = [words(row[0])[0].removeprefix("outcome=").split(":")[0] for row in table(guide, "| how | what is told of each message |")]
    known = {word.split(":")[0] for word in emulator.known("POST", "config?outcome=zzz")}
    same(told, {*known, "15550131026"}, "outcomes")
    _, answer = emulator.ask("POST", "config?outcome=failed:1")
    line = next(line for line in guide.splitlines() if line.startswith("The codes that are played are "))
    same(re.findall(r"\d{6}", line), re.findall(r"\d{6}", answer["error"]), "codes")
    _, answer = emulator.ask("POST", "config?api_version=zzz")
    oldest, newest = re.findall(r"v\d+\.0", answer["error"])
    need("%s to %s;" % (oldest, newest) in guide, "the guide does not say that %s to %s are played" % (oldest, newest))


def check_clock(guide, emulator):
    told = [words(row[0])[0] for row in table(guide, "| parameter | what it does |")]
    return same(told, emulator.known("GET", "clock?zzz=1"), "parameters of the clock")


def check_chaos(guide, emulator):
    told = {words(row[0])[0]: row[1] for row in table(guide, "| profile | what goes wrong |")}
    known = emulator.ask("GET", "chaos")[1]["help"]
    return same(told.items(), known.items(), "profiles")


def check_versions(found):
    """What the guide installs is what is installed here."""
    installed = set()
    for name in ("requirements-testing.txt", "requirements-new.txt"):
        with open(os.path.join(HERE, "..", "py", name), encoding="utf-8") as file:
            installed.update(file.read().split("\n"))
    told = found["text", "requirements-test.txt"].split()
    need(set(told) <= installed, "not installed here: %s" % sorted(set(told) - installed))
    with open(os.path.join(HERE, "..", "js", "package.json"), encoding="utf-8") as file:
        package = json.load(file)
    installed = {"%s@%s" % item for item in {**package["dependencies"], **package["devDependencies"]}.items()}
    told = re.findall(r"\S+@[\d.]+", found["sh", "install-jest"])
    need(len(told) == 3 and set(told) <= installed, "not installed here: %s" % sorted(set(told) - installed))


def run(command, folder, path):
    """Runs tests in a process group of their own; nothing of it may be left afterwards."""
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PATH": path}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=SECONDS_MAX)
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return process.returncode, out
        raise AssertionError("an emulator is left running")
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # as it should be


def check_pytest(arguments, folder, path):
    status, out = run([os.path.join(BIN, "pytest"), "-q", "--tb=short", *arguments], folder, path)
    passed = re.search(r"^(\d+) passed in ", out, re.M)
    need(status == 0 and passed and int(passed[1]) > 0, "exit status %d: %s" % (status, out.strip()[-500:]))
    return "%s tests" % passed[1]


def check_jest(folder, path):
    with open(os.path.join(folder, "package.json"), "w", encoding="utf-8") as file:
        json.dump({"private": True}, file)
    os.symlink(os.path.join(WORK, "js", "node_modules"), os.path.join(folder, "node_modules"))
    status, out = run(["node_modules/.bin/jest", "--ci", "--json", "--outputFile=result.json"], folder, path)
    need(status == 0, "exit status %d: %s" % (status, out.strip()[-500:]))
    with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
        result = json.load(file)
    total, passed = result["numTotalTests"], result["numPassedTests"]
    need(passed > 0 and passed == total, "%d of %d tests passed" % (passed, total))
    return "%d tests" % passed


def check_workflow(found, path):
    workflow = yaml.safe_load(found["yaml", "tests.yml"])
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    need(lines, "no step runs anything")
    files = {title for _, title in found}
    for line in lines:
        need(shutil.which(line.split()[0], path=path), "there is no command `%s`" % line.split()[0])
        unknown = [word for word in line.split() if word.endswith(".txt") and word not in files]
        need(not unknown, "the guide has no file %s" % unknown)
    variables = {name for line in lines for name in re.findall(r"\$(\w+)", line)}
    need(variables <= set(workflow["env"]), "not in `env`: %s" % sorted(variables - set(workflow["env"])))
    return "%d commands" % len(lines)


def check_texts(suite, found, folder):
    with open(os.path.join(HERE, "models.json"), encoding="utf-8") as file:
        models = json.load(file)
    for language, title in TEXTS.items():
        of_sdk = {name for place in models[language]["seen"] for name in place["names"]}
        model, syntax = models[language + "-testing"], LANGUAGES[language][2]
        suite.check("%s: names" % title, lambda: check_names(language, found[language, title], model, of_sdk))
        if shutil.which(syntax[0]):
            suite.check("%s: syntax" % title, lambda: check_syntax(syntax, title, found[language, title], folder))
        else:
            suite.skip("%s: syntax" % title, "nothing here can tell")


def write(found, language, folder):
    """The files of one example; what is installed by a command is no file."""
    os.mkdir(folder)
    for (of, title), text in found.items():
        if of == language:
            with open(os.path.join(folder, title), "w", encoding="utf-8") as file:
                file.write(text)
    return folder


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: testing.py PROGRAM (conformance/testing.sh finds it)")
    program = os.path.abspath(sys.argv[1])
    suite, found = Suite("testing"), blocks(GUIDE)
    with open(GUIDE, encoding="utf-8") as file:
        guide = file.read()
    with tempfile.TemporaryDirectory() as folder:
        # The examples call `twoticks`, as somebody does who has installed it.
        os.mkdir(os.path.join(folder, "bin"))
        os.symlink(program, os.path.join(folder, "bin", "twoticks"))
        path = os.pathsep.join([os.path.join(folder, "bin"), BIN, os.environ["PATH"]])

        emulator, doors = Emulator(program), found["sh", "doors"]
        suite.check("options", lambda: check_options(guide, program))
        suite.check("ready line", lambda: check_ready_line(guide, emulator))
        suite.check("doors", lambda: check_doors(guide, doors, emulator))
        suite.check("fixtures", lambda: check_fixtures(guide, emulator))
        suite.check("outcomes", lambda: check_outcomes(guide, emulator))
        suite.check("clock", lambda: check_clock(guide, emulator))
        suite.check("chaos", lambda: check_chaos(guide, emulator))
        suite.check("curl lines", lambda: check_curls(doors, emulator))
        suite.check("stopped in order", lambda: need(emulator.stop() == 0, "the emulator did not stop in order"))

        suite.check("versions", lambda: check_versions(found))
        python = write(found, "python", os.path.join(folder, "python"))
        suite.check("pytest", lambda: check_pytest([], python, path))
        suite.check("pytest, two workers", lambda: check_pytest(["-n", "2"], python, path))
        suite.check("jest", lambda: check_jest(write(found, "js", os.path.join(folder, "js")), path))
        suite.check("tests.yml", lambda: check_workflow(found, path))
        check_texts(suite, found, folder)
    return suite.end()


if __name__ == "__main__":
    sys.exit(main())
