"""The checkpoint contract as programs in shell and awk use it: what is kept, what is cut, what is removed."""

from __future__ import annotations

import json
import signal

import pytest
from pipeline_bench import kill, shell, wait_for

LINES = [f"line {number}\n" for number in range(1, 201)]

# Numbers the lines of its input, from the offset in the progress file on, and checkpoints every 20. Kills itself twice,
# each time after lines that no checkpoint vouches for. Notes each line that it works on.
AWK = r"""
BEGIN {
    out = ENVIRON["PIPELINE_OUTPUT_OUT"]; progress = ENVIRON["PIPELINE_PROGRESS"]; key = ENVIRON["PIPELINE_KEY"]
    die = ENVIRON["PIPELINE_ATTEMPT"] == 1 ? 75 : ENVIRON["PIPELINE_ATTEMPT"] == 2 ? 151 : 0
    while ((getline told < progress) > 0)
        if (match(told, /"lineOffset": *[0-9]+/)) {
            start = told; sub(/.*"lineOffset": */, "", start); start += 0
            length_ = told; sub(/.*"length": */, "", length_); length_ += 0
        }
    printf "" >> out
}
NR <= start { next }
{
    printf "%d", NR > "/dev/null"
    print NR >> "notes"; fflush("notes")
    text = NR ": " $0 "\n"; printf "%s", text >> out; length_ += length(text)
    if (NR == die) { fflush(out); system("kill -9 $PPID") }
    if (NR % 20 == 0) {
        fflush(out)
        printf "{\"v\": 1, \"key\": \"%s\", \"lineOffset\": %d, \"outputs\": {\"out\": {\"length\": %d}}}\n", key, NR, length_ > (progress ".new")
        close(progress ".new"); system("mv " progress ".new " progress)
    }
}
"""  # noqa: E501 - awk has no line continuation inside a string
VOUCH = '{{"v": 1, "key": "{key}", "lineOffset": 1, "outputs": {outputs}}}'


@pytest.mark.full
def test_an_awk_program_that_checkpoints_ends_with_the_bytes_of_an_undisturbed_run(bench):
    bench.write("in.txt", "".join(LINES))
    bench.write("number.awk", AWK)
    bench.define({
        "name": "number", "command": ["awk", "-f", "number.awk", "{inputs.text}"], "outputs": {"out": "out.txt"},
        "inputs": {"text": "in.txt"}, "retry": {"attempts": 3, "retryExitCodes": ["SIGKILL"]},
    })  # fmt: skip
    bench.succeed()
    assert bench.read("out.txt").decode() == "".join(f"{n}: {line}" for n, line in enumerate(LINES, 1))
    worked = [int(word) for word in bench.read("notes").split()]
    assert worked == [*range(1, 76), *range(61, 152), *range(141, 201)]
    assert [attempt["signal"] for attempt in bench.attempts("number")] == ["SIGKILL", "SIGKILL", None]
    assert bench.leftovers() == []


def vouching(outputs, *, key="$PIPELINE_KEY", then="exit 1"):
    """Script: attempt 1 leaves the partial `kept, junk` and a progress file; attempt 2 notes which of them it finds."""
    progress = VOUCH.format(key="KEY", outputs=json.dumps(outputs)).replace('"', '\\"').replace("KEY", key)
    return f"""
if test -e again; then
    if test -e "$PIPELINE_OUTPUT_OUT"; then cp "$PIPELINE_OUTPUT_OUT" found; fi
    test -e "$PIPELINE_PROGRESS" && touch progress-found
    echo new > "$PIPELINE_OUTPUT_OUT"; exit 0
fi
touch again
printf 'kept, junk' > "$PIPELINE_OUTPUT_OUT"
echo "{progress}" > "$PIPELINE_PROGRESS"
{then}
"""


OTHER_DIGEST = "9498b9fe1c4a1b37f0ee1c0de4b3e8dd0f8a2ba3b3ad4bd9b9fd8b0d1a7a4d3e"
UNUSABLE = {
    "another key": ({"out": {"length": 4}}, {"key": "0" * 64}),
    "shorter than it says": ({"out": {"length": 11}}, {}),
    "another digest": ({"out": {"length": 4, "sha256": OTHER_DIGEST}}, {}),
    "a negative length": ({"out": {"length": -1}}, {}),
    "a length that is none": ({"out": {"length": "4"}}, {}),
    "an unknown output": ({"out": {"length": 4}, "other": {"length": 0}}, {}),
    "no outputs": ({}, {}),
    "damaged": ({"out": {"length": 4}}, {"then": "truncate -s 30 $PIPELINE_PROGRESS; exit 1"}),
    "a list": ({"out": {"length": 4}}, {"then": "echo [] > $PIPELINE_PROGRESS; exit 1"}),
    "deep nesting": (
        {"out": {"length": 4}}, {"then": "head -c 100000 /dev/zero | tr '\\0' '[' > $PIPELINE_PROGRESS; exit 1"},
    ),
    "a directory": (
        {"out": {"length": 4}}, {"then": "rm $PIPELINE_PROGRESS; mkdir -p $PIPELINE_PROGRESS/x; exit 1"},
    ),
    "a FIFO": ({"out": {"length": 4}}, {"then": "rm $PIPELINE_PROGRESS; mkfifo $PIPELINE_PROGRESS; exit 1"}),
    "a dangling link": ({"out": {"length": 4}}, {"then": "ln -sf nowhere $PIPELINE_PROGRESS; exit 1"}),
    "a partial that is a link": (
        {"out": {"length": 4}}, {"then": "mv $PIPELINE_OUTPUT_OUT x; ln -s $PWD/x $PIPELINE_OUTPUT_OUT; exit 1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("between", ["retry", "run"])
def test_a_partial_is_cut_to_the_length_in_its_checkpoint_and_kept(bench, between):
    retry = {"retry": {"attempts": 2, "retryExitCodes": [1]}} if between == "retry" else {}
    bench.define(shell("a", vouching({"out": {"length": 4}}), **retry))
    if between == "run":
        assert bench.run().returncode == 1
    bench.succeed()
    assert bench.read("found") == b"kept"
    assert bench.exists("progress-found")
    assert bench.leftovers() == []


@pytest.mark.full
@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize("between", ["retry", "kill"])
def test_a_partial_without_a_usable_checkpoint_does_not_outlive_its_attempt(bench, what, between):
    outputs, how = UNUSABLE[what]
    if between == "kill":
        how = {**how, "then": how.get("then", "exit 1").replace("exit 1", "touch ready; sleep 60")}
    bench.define(shell("a", vouching(outputs, **how), retry={"attempts": 2, "retryExitCodes": [1]}))
    if between == "kill":
        process = bench.start()
        wait_for((bench.root / "ready").exists)
        kill(process.pid, signal.SIGKILL)
    bench.succeed()
    assert not bench.exists("found")
    assert not bench.exists("progress-found")
    assert bench.read("out/a.txt") == b"new\n"
    assert bench.leftovers() == []


def test_a_changed_param_is_another_key_and_starts_over(bench):
    bench.define(shell("a", vouching({"out": {"length": 4}}), params={"x": 1}))
    assert bench.run().returncode == 1
    bench.succeed("run", "--param", "a.x=2")
    assert not bench.exists("found")
    assert bench.leftovers() == []


def test_a_stage_that_cannot_be_decided_keeps_its_checkpoint(bench):
    """Its input is missing for one run. That must not cost the work done so far."""
    bench.write("in.txt", "x")
    bench.define(
        shell("first", "test ! -e again || rm -f in.txt; touch $PIPELINE_OUTPUT_OUT"),
        shell("a", vouching({"out": {"length": 4}}), inputs={"in": "in.txt"}, needs=["first"]),
    )
    assert bench.run().returncode == 1
    assert bench.run("run", "-f").returncode == 5
    bench.write("in.txt", "x")
    bench.define(shell("a", vouching({"out": {"length": 4}}), inputs={"in": "in.txt"}))
    bench.succeed()
    assert bench.read("found") == b"kept"


HUGE = {
    "a line offset": ({"lineOffset": 1 << 53}, b"kept"),
    "a longer one": ({"lineOffset": 10**4000}, b"kept"),
    "a version": ({"v": 10**4000}, None),
}


@pytest.mark.full
@pytest.mark.parametrize("what", HUGE)
def test_a_number_that_no_record_can_hold_damages_no_log(bench, what):
    fields, kept = HUGE[what]
    bench.write("fields", json.dumps({"outputs": {"out": {"length": 4}}, **fields})[1:])
    script = """
if test -e again; then cp "$PIPELINE_OUTPUT_OUT" found; echo new > "$PIPELINE_OUTPUT_OUT"; exit 0; fi
touch again
printf 'kept, junk' > "$PIPELINE_OUTPUT_OUT"
(printf '{"key": "%s", ' "$PIPELINE_KEY"; cat fields) > "$PIPELINE_PROGRESS"
exit 1"""
    bench.define(shell("a", script))
    assert bench.run().returncode == 1
    assert bench.run("verify").returncode == 3
    bench.succeed()
    assert bench.run("verify").returncode == 0
    assert (bench.read("found") if bench.exists("found") else None) == kept


def test_a_directory_with_a_checkpoint_beside_it_is_not_kept(bench):
    script = """test -e again && { test ! -e $PIPELINE_OUTPUT_TREE && mkdir $PIPELINE_OUTPUT_TREE; exit; }
    touch again; mkdir $PIPELINE_OUTPUT_TREE; touch $PIPELINE_OUTPUT_TREE/stale
    echo "{\\"key\\": \\"$PIPELINE_KEY\\", \\"outputs\\": {\\"tree\\": {\\"length\\": 0}}}" > $PIPELINE_PROGRESS
    exit 1"""
    bench.define(shell("a", script, outputs={"tree": "tree/"}))
    assert bench.run().returncode == 1
    bench.succeed()
    assert list((bench.root / "tree").iterdir()) == []
