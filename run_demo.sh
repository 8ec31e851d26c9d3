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
printf '\nRun it again: nothing is left to do. Change a line in data/input/, and what depends on it runs.\n'
