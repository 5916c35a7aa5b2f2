# The clients, installed below .work; sourced by run.sh and testing.sh from this folder.
WORK="$PWD/.work"
PYTHON="${PYTHON:-python3}"
mkdir -p "$WORK"

venv() { # name requirements
  if [ ! -f "$WORK/$1/.ready" ] || [ "py/$2" -nt "$WORK/$1/.ready" ]; then
    "$PYTHON" -m venv "$WORK/$1" && "$WORK/$1/bin/pip" install -q --disable-pip-version-check -r "py/$2" && touch "$WORK/$1/.ready" || exit 1
  fi
}
node_modules() {
  if [ ! -f "$WORK/js/.ready" ] || [ js/package.json -nt "$WORK/js/.ready" ]; then
    mkdir -p "$WORK/js" && cp js/package.json "$WORK/js/" && (cd "$WORK/js" && npm install --silent --no-audit --no-fund) && touch "$WORK/js/.ready" || exit 1
  fi
}
