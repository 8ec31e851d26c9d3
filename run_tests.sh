#!/usr/bin/env bash
# Runs the checks, after making .venv where it is missing: what protects each promise, or all of them with --full.
# Arguments go to pytest: ./run_tests.sh -k name. With --room, it only prints how much room the limits leave.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup.sh"

part() {  # NAME COMMAND...; says how long it took
  local name=$1 start=${EPOCHREALTIME:-$SECONDS.000000} end elapsed
  shift
  "$@" || { printf 'error: %s found something\n' "$name" >&2; exit 1; }
  end=${EPOCHREALTIME:-$SECONDS.000000}
  elapsed=$((10#${end/[.,]/} - 10#${start/[.,]/}))
  printf '%-12s %d.%d s\n' "$name" $((elapsed / 1000000)) $((elapsed / 100000 % 10))
}

part setup setup test
cd "$checkout"
[ "${1:-}" != --room ] || exec "$python" tests/support/room_left.py
unset PYTHONDONTWRITEBYTECODE  # without bytecode each start would compile the runner again
typed=()
for package in runner stages pytest_offpipe; do
  [ -z "$(find "$package" -name '*.py' 2>/dev/null | head -n 1)" ] || typed+=("$package")
done
part format "$python" -m ruff format --check --quiet .
part ruff "$python" -m ruff check --quiet .
part mypy "$python" -m mypy --strict --no-error-summary "${typed[@]}"
case " $* " in *" --full "*) echo "all tests: fifteen minutes on two cores" ;; *) echo "tests: about three minutes on two cores" ;; esac
# One worker more than processors, because tests also wait.
processors=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
exec "$python" -m pytest -n "$((processors + 1))" --dist loadfile --no-loadscope-reorder "$@"
