#!/usr/bin/env python3
"""Checks the programs of docs/guide/sdk.md.

Python and Node.js are run as they stand there against a running demo. Java, Go, PHP and C# cannot
be: every name in them has to be in models.json, which says where in the published SDK it was seen.
To change one of those programs, look the new name up and record where; to add a language, add its
block, its entry in models.json and a line in LANGUAGES.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "py"))
from common import Suite, need  # noqa: E402

WORK = os.path.join(HERE, "..", ".work")
GUIDE = os.path.join(HERE, "..", "..", "docs", "guide", "sdk.md")
SECONDS_MAX = 60
# Of every language that is text: its program, its install block, and what can tell whether it parses.
LANGUAGES = {
    "java": ("Metrics.java", ("xml", "install-java"), ["javac", "-proc:none"]),
    "go": ("metrics.go", ("sh", "install-go"), ["gofmt", "-l"]),
    "php": ("metrics.php", ("sh", "install-php"), ["php", "-l"]),
    "csharp": ("Metrics.cs", ("sh", "install-csharp"), None),
}
# Of every language that is run: how a file ends, and what runs it.
RUN = {
    "python": ("py", [os.path.join(WORK, "py-new", "bin", "python")]),
    "js": ("js", ["node"]),
}


class Blocks(dict):
    def __missing__(self, key):
        raise AssertionError("the guide has no block `%s title=%s`" % key)


def blocks(guide=GUIDE):
    """The titled fences of a guide: {(language, title): text}."""
    found = Blocks()
    with open(guide, encoding="utf-8") as file:
        text = file.read()
    for language, title, body in re.findall(r"^```(\w+) title=(\S+)\n(.*?)^```$", text, re.M | re.S):
        need((language, title) not in found, "two blocks are called `%s title=%s`" % (language, title))
        found[language, title] = body
    return found


def names(language, code):
    """Every identifier of a program, those in interpolated strings too; imports as a whole."""
    found = set()

    def keep(pattern, text):
        found.update(re.findall(pattern, text, re.M))
        return re.sub(pattern, "", text, flags=re.M)

    if language == "go":
        code = keep(r'"(github\.com/[^"]+)"', code)
    else:
        code = keep(r"^(?:import|using|use)\s+([\w.\\*]+);", code)

    def literal(match):
        text, rest = match.group(0), code[match.end():]
        if language == "csharp" and text.startswith('$"'):
            return " ".join(re.findall(r"\{([^{}]*)\}", text))
        if language == "php" and text.startswith('"'):
            return " ".join(re.findall(r"\$\w+(?:->\w+)*", text))
        if language == "php" and re.match(r"\s*=>", rest):
            return text.strip("'")  # a key of the array that a model is made of
        return " "

    code = re.sub(r'//[^\n]*|/\*.*?\*/|\$?"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', literal, code, flags=re.S)
    return found | set(re.findall(r"\b[A-Za-z_]\w*", code))


def check_names(language, code, model, known=frozenset()):
    """Every name is in `model`, and none in it is superfluous; `known` are names of the SDK too."""
    seen = set()
    for place in model["seen"]:
        need(re.fullmatch(r"[\w.-]+/[\w.-]+", place["repository"]) and place["path"] and
             re.fullmatch(r"[0-9a-f]{40}", place["commit"]), "%r does not say where" % place)
        seen.update(place["names"])
    other = set(model["other"])
    need(not seen & other, "both of the SDK and not of it: %s" % sorted(seen & other))
    used = names(language, code)
    new, old = sorted(used - seen - other - known), sorted((seen | other) - used)
    need(not new, "not in models.json: %s; look them up in the published SDK and record where" % ", ".join(new))
    need(not old, "in models.json and used no more: %s" % ", ".join(old))
    return "%d names of the SDK" % len(used - other)


def check_syntax(command, title, code, folder):
    path = os.path.join(folder, title)
    with open(path, "w", encoding="utf-8") as file:
        file.write(code)
    done = subprocess.run(command + [path], cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX)
    if command[0] == "javac":  # the SDK is not there: that is all that may be wrong
        bad = [line for line in done.stderr.splitlines() if ": error: " in line
               and "does not exist" not in line and "cannot find symbol" not in line]
        need(not bad, "; ".join(bad))
    else:
        need(done.returncode == 0, (done.stderr or done.stdout).strip())
        need(command[0] != "gofmt" or not done.stdout, "gofmt would write it differently")


def environment(ready, key):
    template = next(t for t in ready["templates"] if t["category"] == "marketing")
    own = {
        "CAMS_ENDPOINT": ready["endpoint"].replace("http://", ""), "CAMS_SPACE": ready["channel"],
        "CAMS_TEMPLATE": template["code"], "CAMS_LANGUAGE": template["language"],
        "CAMS_FROM": ready["numbers"][0]["phone_number"],
        "ALIBABA_CLOUD_ACCESS_KEY_ID": key["access_key_id"],
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": key["access_key_secret"],
        "NODE_PATH": os.path.join(WORK, "js", "node_modules"),
    }
    if "security_token" in key:
        own["ALIBABA_CLOUD_SECURITY_TOKEN"] = key["security_token"]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("ALIBABA_CLOUD_", "CAMS_"))}
    return {**inherited, **own}


def run(language, code, env, folder):
    ending, command = RUN[language]
    path = os.path.join(folder, "program." + ending)
    with open(path, "w", encoding="utf-8") as file:
        file.write(code)
    done = subprocess.run(command + [path], env=env, capture_output=True, text=True, timeout=SECONDS_MAX)
    need(done.returncode == 0, "exit status %d: %s" % (done.returncode, (done.stderr or done.stdout).strip()[-500:]))
    return done.stdout


def check_metrics(language, code, env, folder):
    out = run(language, code, env, folder)
    lines = [line.split(" ", 2)[0] for line in out.splitlines()]
    for kind in ("template", "number", "message"):
        need(kind in lines, "it printed no line that begins with `%s`: %r" % (kind, out[:300]))
    need(re.search(r"^template \d{4}-\d\d-\d\d \S+ \S+ sent [1-9]\d* delivered \d+ read \d+ clicks .+$", out, re.M),
         "no row of a template has a count: %r" % out[:300])
    return "%d template rows, %d number rows" % (lines.count("template"), lines.count("number"))


def check_errors(language, code, expected, env, folder):
    out = run(language, code, env, folder)
    need(out == expected, "the guide says %r, it printed %r" % (expected, out))


def check_sample(text, ready):
    """The values that the guide names are those of the demo, so that they can be copied."""
    said = dict(re.findall(r"^export (CAMS_(?:TEMPLATE|LANGUAGE|FROM))=(\S+)", text, re.M))
    need({"code": said.get("CAMS_TEMPLATE"), "language": said.get("CAMS_LANGUAGE"), "category": "marketing"}
         in [{k: t[k] for k in ("code", "language", "category")} for t in ready["templates"]],
         "the demo has no marketing template `%s` in `%s`" % (said.get("CAMS_TEMPLATE"), said.get("CAMS_LANGUAGE")))
    need(said.get("CAMS_FROM") in [n["phone_number"] for n in ready["numbers"]],
         "the demo has no number `%s`" % said.get("CAMS_FROM"))


def check_texts(suite, found, models, folder):
    suite.check("versions", check_versions)
    for language, (title, install, syntax) in LANGUAGES.items():
        model = models[language]
        suite.check("%s: names" % title, lambda: check_names(language, found[language, title], model))
        suite.check("%s: package" % title, lambda: need(
            all(part in found[install] for part in model["package"]), "%s lacks one of %s" % (install[1], model["package"])))
        if syntax and shutil.which(syntax[0]):
            suite.check("%s: syntax" % title, lambda: check_syntax(syntax, title, found[language, title], folder))
        else:
            suite.skip("%s: syntax" % title, "nothing here can tell")


def check_runs(suite, found, ready, folder):
    suite.check("sample values", lambda: check_sample(found["sh", "environment"], ready))
    for key in ("admin", "session"):
        env = environment(ready, ready[key])
        for language, (ending, _) in RUN.items():
            metrics, errors = "metrics." + ending, "errors." + ending
            suite.check("%s with the key `%s`" % (metrics, key),
                        lambda: check_metrics(language, found[language, metrics], env, folder))
            suite.check("%s with the key `%s`" % (errors, key),
                        lambda: check_errors(language, found[language, errors], found["text", errors], env, folder))


def check_versions():
    """The versions that the guide says CI runs are those that run.sh installs."""
    with open(os.path.join(HERE, "..", "py", "requirements-new.txt"), encoding="utf-8") as file:
        python = re.search(r"^(alibabacloud-cams20200606)==(\S+)$", file.read(), re.M)
    with open(os.path.join(HERE, "..", "js", "package.json"), encoding="utf-8") as file:
        node = json.load(file)["dependencies"]["@alicloud/cams20200606"]
    with open(GUIDE, encoding="utf-8") as file:
        guide = file.read()
    for client in (" ".join(python.groups()), "@alicloud/cams20200606 " + node):
        need("CI runs what follows with %s." % client in guide, "the guide does not say that CI runs %s" % client)


def main():
    if len(sys.argv) > 2 or "-h" in sys.argv or "--help" in sys.argv:
        sys.exit("usage: guide.sh [READY], where READY is the line that `twoticks demo --json` prints")
    try:
        ready = json.loads(sys.argv[1]) if len(sys.argv) == 2 else None
    except ValueError as error:
        sys.exit("the argument is not the line that `twoticks demo --json` prints: %s" % error)
    with open(os.path.join(HERE, "models.json"), encoding="utf-8") as file:
        models = json.load(file)
    suite, found = Suite("guide"), blocks()
    with tempfile.TemporaryDirectory() as folder:
        check_texts(suite, found, models, folder)
        if ready is not None:
            check_runs(suite, found, ready, folder)
    return suite.end()


if __name__ == "__main__":
    sys.exit(main())
