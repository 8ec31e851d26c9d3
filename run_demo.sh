#!/usr/bin/env bash
# Runs the demo pipeline, after making .venv where it is missing. Arguments go to the runner: ./run_demo.sh --json
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup.sh"

setup demo
offpipe=.venv/bin/offpipe specs=pipelines
[ "$PWD" -ef "$checkout" ] || offpipe=$venv/bin/offpipe specs=$checkout/pipelines
[ $# -eq 0 ] || exec "$offpipe" "$specs/demo.json" "$@"

tell() {  # COMMAND...; as it could be typed
  printf '\n$'
  printf ' %q' "$@"
  printf '\n'
}

show() {  # COMMAND...
  tell "$@"
  "$@"
}

lines_done() {  # as the checkpoint of the stage upper has it; 0 before the first
  local checkpoint=''
  { checkpoint=$(<"$work/state/progress_upper.json"); } 2>/dev/null || true
  [[ $checkpoint =~ \"lineOffset\":\ *([0-9]+) ]] && echo "${BASH_REMATCH[1]}" || echo 0
}

show "$offpipe" "$specs/demo.json"
show head -n 4 "$checkout/data/output/upper.txt"

printf '\nA run of three million lines is killed half-way (kill -9), looked at, and run again:\n'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
resume=("$specs/resume.json" --workspace "$work")
tell "$offpipe" "${resume[@]}"
"$offpipe" "${resume[@]}" &
runner=$!
until [ "$(lines_done)" -ge 1500000 ] || ! kill -0 $runner 2>/dev/null; do sleep 0.01; done
kill -9 $runner 2>/dev/null || true
{ wait $runner || true; } 2>/dev/null
show "$offpipe" status "${resume[@]}"
show "$offpipe" "${resume[@]}"
show "$offpipe" explain "$specs/demo.json" upper
printf '\nRun it again: nothing is left to do. Change a line in data/input/, and what depends on it runs.\n'
