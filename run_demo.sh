#!/usr/bin/env bash
# Runs the demo pipeline, after making .venv where it is missing. Arguments go to the runner: ./run_demo.sh --json
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup.sh"

setup demo
spec=pipelines/demo.json
[ "$PWD" -ef "$checkout" ] || spec=$checkout/$spec
# -P: a runner.py where the caller stands must not be taken for ours
[ $# -eq 0 ] || exec "$python" -P -m runner "$spec" "$@"

"$python" -P -m runner "$spec"
printf '\nThe first lines of data/output/upper.txt:\n'
head -n 4 "$checkout/data/output/upper.txt"

printf '\nA run of three million lines, killed in the middle (kill -9), looked at, and run again:\n'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
resume() { "$python" -P -m runner "$1" "$checkout/pipelines/resume.json" --workspace "$work" "${@:2}"; }
resume run lines -q
"$python" -P -m runner run "$checkout/pipelines/resume.json" --workspace "$work" &
runner=$!
until [ -e "$work/state/progress_upper.json" ] || ! kill -0 $runner 2>/dev/null; do sleep 0.01; done
kill -9 $runner 2>/dev/null || true
{ wait $runner || true; } 2>/dev/null
printf '\n$ offpipe status pipelines/resume.json\n'
resume status
printf '\n$ offpipe pipelines/resume.json\n'
resume run
printf '\n$ offpipe explain pipelines/demo.json upper\n'
"$python" -P -m runner explain "$spec" upper
printf '\nRun it again: nothing is left to do. Change a line in data/input/, and what depends on it runs.\n'
