# Sourced by run_demo.sh and run_tests.sh: finds a Python, makes .venv in the checkout and installs into it, once.
#
# setup demo|test     afterwards "$python" is the interpreter of .venv
#
# A stamp in .venv, named by what the installation depends on, makes the next call cheap. Two first calls at once wait
# for each other. OFFPIPE_PYTHON names the interpreter to use; OFFPIPE_WHEELS=DIR installs from that directory only.
# shellcheck shell=bash

oldest=3.11
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP  # the caller's settings are for the caller's programs
unset PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER=0

checkout=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$checkout/.venv
python=$venv/bin/python

setup() {
  local mode=$1 wheels
  wheels=$(wheels_directory)
  is_installed "$mode" && return
  [ -w "$checkout" ] || fail "$checkout: cannot write .venv here" "copy the checkout to a place that you may write to"
  lock
  if ! is_installed "$mode"; then
    make_venv
    install_into_venv "$mode" "$wheels"
  fi
  unlock
}

fail() {  # FACT HINT
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

wheels_directory() {
  [ -n "${OFFPIPE_WHEELS:-}" ] || return 0
  CDPATH='' cd -- "$OFFPIPE_WHEELS" 2>/dev/null && pwd -P && return
  fail "OFFPIPE_WHEELS=$OFFPIPE_WHEELS: no such directory" "CONTRIBUTING.md shows how to fill one"
}

is_installed() {  # MODE; what the tests need includes what the demo needs
  local stamp
  stamp=$(stamp_name)
  [ -e "$venv/$stamp-test" ] || { [ "$1" = demo ] && [ -e "$venv/$stamp-demo" ]; } || return 1
  runs_python "$python"
}

stamp_name() {  # the path is part of it, because a moved .venv points to where it was
  { cat "$checkout/pyproject.toml" "$checkout/scripts/offpipe_build.py"; printf '%s' "$checkout"; } | cksum | tr ' ' '-' |
    sed 's/^/offpipe-/'
}

runs_python() {  # whether PROGRAM is a Python that is new enough
  [ "$("$1" -I -S -c "import sys; print(sys.version_info >= (${oldest/./, }))" 2>/dev/null)" = True ]
}

# --- one at a time: the kernel's lock on this very file, which needs no file of its own and dies with its holder ---

lock() {
  if command -v flock >/dev/null; then
    exec 9<"$checkout/scripts/setup.sh"
    flock -n 9 && return
    echo "another set-up of .venv is going on; waiting for it" >&2
    flock 9
    return
  fi
  until mkdir "$checkout/.venv.lock" 2>/dev/null; do
    kill -0 "$(cat "$checkout/.venv.lock/pid" 2>/dev/null || echo $$)" 2>/dev/null || rm -rf "$checkout/.venv.lock"
    sleep 1
  done
  echo $$ >"$checkout/.venv.lock/pid"
}

unlock() {
  rm -rf "$checkout/.venv.lock"
  exec 9<&-
}

# --- the two steps ---

make_venv() {
  local found output
  if [ -e "$venv" ]; then
    runs_python "$python" && "$python" -I -m pip --version >/dev/null 2>&1 && is_at_home && return
    echo "making .venv again: its Python does not run, is older than $oldest, has no pip, or was made elsewhere" >&2
    rm -rf "$venv"
  fi
  found=$(find_python)
  echo "making .venv with $found" >&2
  if ! output=$("$found" -I -m venv "$venv" 2>&1); then
    output+=$(space_left)
    rm -rf "$venv"
    explain_failure "cannot make $venv" "$output" "$(venv_hint "$found")"
  fi
}

is_at_home() {  # programs in bin/ carry the path that the venv was made at, and so does its configuration
  case $(grep '^command = ' "$venv/pyvenv.cfg" 2>/dev/null) in '' | *" $venv") return 0 ;; *) return 1 ;; esac
}

find_python() {  # the first that can make a venv; Debian splits that part off
  local candidate path without_venv='' candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
  [ -z "${OFFPIPE_PYTHON:-}" ] || candidates=("$OFFPIPE_PYTHON")
  for candidate in "${candidates[@]}"; do
    path=$(command -v "$candidate") && runs_python "$path" || continue
    "$path" -I -c 'import ensurepip, venv; ensurepip.version()' >/dev/null 2>&1 && echo "$path" && return
    without_venv=${without_venv:-$path}
  done
  [ -z "$without_venv" ] || fail "$without_venv cannot make virtual environments" "$(venv_hint "$without_venv")"
  [ -z "${OFFPIPE_PYTHON:-}" ] || fail "OFFPIPE_PYTHON=$OFFPIPE_PYTHON: not a Python $oldest or newer that runs" \
    "name one, for example OFFPIPE_PYTHON=/usr/bin/python3"
  fail "no Python $oldest or newer found (tried ${candidates[*]})" \
    "install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: OFFPIPE_PYTHON=/path/to/python3"
}

venv_hint() {  # PYTHON
  local version
  version=$("$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=3
  printf 'its venv and ensurepip modules are needed; Debian, Ubuntu: apt-get install python3-venv (or python%s-venv)' "$version"
}

install_into_venv() {  # MODE WHEELS
  local what=$checkout output options=()
  [ "$1" = demo ] || what="$checkout[test]"
  [ -z "$2" ] || options=(--no-index --find-links "$2")
  echo "installing into .venv${2:+ from $2} (once)" >&2
  rm -f "$venv"/offpipe-*
  if ! output=$("$python" -I -m pip install --quiet --disable-pip-version-check --no-input \
    ${options[@]+"${options[@]}"} --editable "$what" 2>&1); then
    explain_failure "cannot install into $venv" "$output$(space_left)" \
      "without an index, OFFPIPE_WHEELS=DIR installs from a directory of wheels; CONTRIBUTING.md shows how to fill one"
  fi
  : >"$venv/$(stamp_name)-$1" || fail "$venv: cannot write to it" "make room, or make it writable"
}

space_left() {  # says so when there is none, because venv does not show what its pip ran into
  local kib
  kib=$(df -Pk "$checkout" 2>/dev/null | tail -n 1 | sed 's/.* \([0-9][0-9]*\)  *[0-9]*%.*/\1/')
  [ "$kib" -ge 2048 ] 2>/dev/null || [ -z "$kib" ] || printf '\nNo space left on device (%s KiB)' "$kib"
}

explain_failure() {  # FACT OUTPUT HINT
  case $2 in
    *'No space left on device'* | *'Errno 28'*) fail "$1: no space left on device" "make room, then type the same again" ;;
    *'Read-only file system'* | *'Errno 30'*) fail "$1: read-only file system" "copy the checkout to a place that you may write to" ;;
  esac
  printf '%s\n' "$2" | tail -n 15 >&2
  fail "$1" "$3"
}
