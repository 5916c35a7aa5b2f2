# The clients, installed below .work; sourced by the scripts of this folder.
WORK="$PWD/.work"
PYTHON="${PYTHON:-python3}"
mkdir -p "$WORK"

venv() { # name requirements
  if [ ! -f "$WORK/$1/.ready" ] || [ "py/$2" -nt "$WORK/$1/.ready" ]; then
    "$PYTHON" -m venv "$WORK/$1" && "$WORK/$1/bin/pip" install -q --disable-pip-version-check -r "py/$2" && touch "$WORK/$1/.ready" || exit 1
  fi
}
node_modules() { # nothing for js/package.json, or a folder below js
  local into="js${1:+-$1}" from="js${1:+/$1}/package.json"
  if [ ! -f "$WORK/$into/.ready" ] || [ "$from" -nt "$WORK/$into/.ready" ]; then
    mkdir -p "$WORK/$into" && cp "$from" "$WORK/$into/" && (cd "$WORK/$into" && npm install --silent --no-audit --no-fund) && touch "$WORK/$into/.ready" || exit 1
  fi
}
