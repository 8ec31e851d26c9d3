# Sourced by run_demo.sh and run_tests.sh: makes .venv in the checkout and installs into it, once.
#
# setup demo|test     afterwards "$python" is the interpreter of .venv
#
# OFFPIPE_PYTHON names the interpreter to use; OFFPIPE_WHEELS=DIR installs from that directory only.
# shellcheck shell=bash

unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PIP_TARGET PIP_PREFIX PIP_ROOT  # the caller's settings are for its programs
export PIP_USER=0

checkout=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$checkout/.venv
python=$venv/bin/python

setup() {  # MODE
  local wheels=''
  if [ -n "${OFFPIPE_WHEELS:-}" ]; then
    wheels=$(CDPATH='' cd -- "$OFFPIPE_WHEELS" 2>/dev/null && pwd -P) ||
      fail "OFFPIPE_WHEELS=$OFFPIPE_WHEELS: no such directory" "CONTRIBUTING.md shows how to fill one"
  fi
  is_installed "$1" && return
  [ -w "$checkout" ] || fail "$checkout: cannot write .venv here" "copy the checkout to a place that you may write to"
  exec 9<"$checkout/scripts/setup.sh"  # a lock on this file ends with its holder, however that ends
  if command -v flock >/dev/null && ! flock -n 9; then
    echo "waiting for another set-up of .venv" >&2
    flock 9
  fi
  is_installed "$1" || install "$1" "$wheels"
  exec 9<&-
}

fail() {  # FACT HINT
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

is_installed() {  # MODE; what the tests need includes what the demo needs
  { [ -e "$(stamp test)" ] || { [ "$1" = demo ] && [ -e "$(stamp demo)" ]; }; } && is_new_enough "$python"
}

stamp() {  # MODE; its name says where .venv was made and for which requirements
  local sum
  sum=$({ cat "$checkout/pyproject.toml"; printf '%s' "$checkout"; } | cksum | tr ' ' '-')
  printf '%s/offpipe-%s-%s' "$venv" "$sum" "$1"
}

is_new_enough() {  # PYTHON
  [ "$("$1" -I -S -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)" = True ]
}

install() {  # MODE WHEELS
  local what=$checkout options=() found
  [ "$1" = demo ] || what="$checkout[test]"
  [ -z "$2" ] || options=(--no-index --find-links "$2")
  if ! is_new_enough "$python" || [ -z "$(compgen -G "$(stamp '*')")" ]; then
    found=$(find_python)
    echo "making .venv with $found" >&2
    rm -rf "$venv"
    "$found" -I -m venv "$venv" >&2 || fail "cannot make $venv" "look above for the reason; is there room for it?"
  fi
  echo "installing into .venv${2:+ from $2} (once)" >&2
  "$python" -I -m pip install --quiet --disable-pip-version-check --no-input ${options[@]+"${options[@]}"} \
    --editable "$what" >&2 || fail "cannot install into $venv" \
    "look above for the reason; without an index use OFFPIPE_WHEELS=DIR, CONTRIBUTING.md shows how to fill one"
  : >"$(stamp "$1")"
}

find_python() {  # the first that can make a venv; Debian splits that part off
  local candidate path names=(python3 python3.14 python3.13 python3.12 python3.11 python)
  for candidate in ${OFFPIPE_PYTHON:-"${names[@]}"}; do
    path=$(command -v "$candidate") && is_new_enough "$path" || continue
    "$path" -I -c 'import ensurepip, venv; ensurepip.version()' >/dev/null 2>&1 && echo "$path" && return
  done
  fail "no Python 3.11 or newer that can make virtual environments (tried ${OFFPIPE_PYTHON:-${names[*]}})" \
    "install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: OFFPIPE_PYTHON=/path/to/python3"
}
