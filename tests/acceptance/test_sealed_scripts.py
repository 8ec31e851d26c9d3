"""Scripts with fixed paths run as they are in sealed stages: like those of iterative/example-get-started."""

from __future__ import annotations

import pytest
from sealed_stages import sealed
from small_disks import small_disk

PARAMS = """
def params(section):
    found, inside = {}, False
    for line in open("params.yaml"):
        if not line.startswith(" "):
            inside = line.strip() == section + ":"
        elif inside:
            name, value = line.split(":")
            found[name.strip()] = float(value)
    return found
"""
SCRIPTS = {
    "src/params.py": PARAMS,
    "src/prepare.py": """
import os, random, sys
from params import params
if len(sys.argv) != 2:
    sys.exit("Usage: python prepare.py data-file")
chosen = params("prepare")
random.seed(int(chosen["seed"]))
os.makedirs(os.path.join("data", "prepared"), exist_ok=True)
with open("data/prepared/train.tsv", "w") as train, open("data/prepared/test.tsv", "w") as test:
    for line in open(sys.argv[1]):
        (test if random.random() < chosen["split"] else train).write(line)
""",
    "src/featurization.py": """
import os, pickle, sys
from params import params
source, target = sys.argv[1:]
most = int(params("featurize")["max_features"])
os.makedirs(target, exist_ok=True)
for name in ("train", "test"):
    rows = [line.split()[:most] for line in open(f"{source}/{name}.tsv")]
    with open(f"{target}/{name}.pkl", "wb") as file:
        pickle.dump(rows, file)
""",
    "src/train.py": """
import os, pickle
rows = pickle.load(open("data/features/train.pkl", "rb"))
with open("model.pkl.tmp", "wb") as file:
    pickle.dump(sorted({word for row in rows for word in row}), file)
os.replace("model.pkl.tmp", "model.pkl")
""",
    "src/evaluate.py": """
import json, os, pickle
model = set(pickle.load(open("model.pkl", "rb")))
os.makedirs("eval/plots", exist_ok=True)
for name in ("train", "test"):
    words = [word for row in pickle.load(open(f"data/features/{name}.pkl", "rb")) for word in row]
    known = sum(word in model for word in words)
    with open(f"eval/plots/{name}.json", "w") as file:
        json.dump({"known": known, "words": len(words)}, file)
with open("eval/metrics.json", "w") as file:
    json.dump({"done": True}, file)
with open("debug.log", "w") as file:
    file.write("left behind")
""",
}
STAGES = (
    {"name": "prepare", "command": ["{python}", "src/prepare.py", "data/data.xml"],
     "inputs": ["data/data.xml", "params.yaml"], "outputs": {"out": "data/prepared/"}},
    {"name": "featurize", "command": ["{python}", "src/featurization.py", "data/prepared", "data/features"],
     "inputs": ["data/prepared/", "params.yaml"], "outputs": {"out": "data/features/"}},
    {"name": "train", "command": ["{python}", "src/train.py"], "inputs": ["data/features/"],
     "outputs": {"model": "model.pkl"}},
    {"name": "evaluate", "command": ["{python}", "src/evaluate.py"], "inputs": ["model.pkl", "data/features/"],
     "outputs": {"plots": "eval/plots/", "metrics": "eval/metrics.json"}},
)  # fmt: skip


@pytest.fixture
def project(bench):
    for path, content in SCRIPTS.items():
        bench.write(path, content)
    bench.write("params.yaml", "prepare:\n  split: 0.2\n  seed: 7\nfeaturize:\n  max_features: 3\n")
    bench.write("data/data.xml", "".join(f"row{number % 9} a b c d\n" for number in range(200)))
    return bench


def test_four_scripts_run_as_they_are(project):
    project.define(*STAGES, defaults={"sealed": True})
    project.succeed()
    assert b'"known"' in project.read("eval/plots/test.json") and project.read("eval/metrics.json")
    assert not project.exists("debug.log") and project.leftovers() == []
    assert project.skips_everything()


def test_a_script_that_reads_what_its_stage_does_not_declare_fails_with_its_own_message(project):
    first, *rest = STAGES
    project.define({**first, "inputs": ["data/data.xml"]}, *rest, defaults={"sealed": True})
    done = project.run()
    assert done.returncode == 1
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'params.yaml'" in done.stderr
    (hint,) = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    assert "sealed" in hint and "params.yaml" in hint


def test_every_instance_may_read_and_write_the_same_fixed_names(bench):
    bench.write("search.py", "text = open('query.fa').read()\nopen('top_hits', 'w').write(text.upper())\n")
    for name in "abc":
        bench.write(f"queries/{name}.fa", f"{name}\n")
    search = {
        "name": "search", "each": {"q": ["a", "b", "c"]}, "command": ["{python}", "search.py"], "sealed": True,
        "inputs": {"query": "queries/{each.q}.fa"}, "outputs": {"hits": "hits/{each.q}.txt"},
        "seenAs": {"query": "query.fa", "hits": "top_hits"},
    }  # fmt: skip
    bench.define(search, sealed("look", "cat", "{inputs.hits}", inputs={"hits": "{outputs.search.hits}"}))
    bench.succeed("-j3")
    assert bench.read("look.seen") == b"A\nB\nC\n"
    assert not bench.exists("top_hits") and not bench.exists("query.fa") and bench.leftovers() == []


def test_placeholders_and_variables_say_where_a_stage_sees_its_files(bench):
    bench.write("in.txt", "in\n")
    bench.write("tree/a", "a\n")
    script = 'echo "$1" "$2" "$PIPELINE_INPUT_IN" "$PIPELINE_OUTPUT_OUT"; cat x/tree/a; cp "$1" "$2"; ls'
    words = ("sh", "-ec", script, "sh", "{inputs.in}", "{outputs.out}")
    inputs = {"in": "in.txt", "tree": "tree/"}
    seen_as = {"in": "x/query", "tree": "x/tree/", "out": "work/hits"}
    bench.define(sealed("look", *words, inputs=inputs, outputs={"out": "out/o.txt"}, seenAs=seen_as))
    bench.succeed()
    said = f"x/query work/hits {bench.root}/x/query {bench.root}/work/hits\na\nlook.seen\nstate\nwork\nx\n"
    assert bench.read("look.seen").decode() == said and bench.read("out/o.txt") == b"in\n"


# ---- other file systems ----


@pytest.fixture
def disk(bench):
    with small_disk(bench, "size=8m") as made:
        bench.write("in.txt", "in\n")
        yield made


@pytest.mark.parametrize("path", ["mnt/o.txt", "mnt/deep/er/o.txt"])
def test_an_output_may_be_on_another_file_system(disk, path):
    disk.write("mnt/secret", "")
    script = f'cp in.txt "{path}.n"; mv "{path}.n" "{path}"; echo >"$(dirname "{path}")/stray"; ls mnt'
    disk.define(sealed("look", "sh", "-ec", script, inputs={"in": "in.txt"}, outputs={"out": path}))
    disk.succeed()
    assert disk.read(path) == b"in\n" and b"secret" not in disk.read("look.seen")
    assert not [*(disk.root / "mnt").rglob("stray")] and not [*disk.root.rglob(".partial-*")]
    assert disk.skips_everything()


@pytest.mark.parametrize("here", ["y", "out/y"])
@pytest.mark.parametrize("first", ["here", "there"])
def test_a_stage_may_have_outputs_in_two_file_systems_in_any_order(disk, first, here):
    outputs = {"there": "mnt/d/", "here": here}
    outputs = {first: outputs[first], **outputs}
    command = ["sh", "-ec", f"mkdir mnt/d; cp in.txt mnt/d/x; cp in.txt {here}"]
    stage = {"name": "two", "command": command, "inputs": {"in": "in.txt"}, "outputs": outputs, "sealed": True}
    disk.define(stage)
    disk.succeed()
    assert disk.read("mnt/d/x") == disk.read(here) == b"in\n" and not [*disk.root.rglob(".partial-*")]


def test_an_output_there_may_be_seen_elsewhere(disk):
    seen_as = {"in": "query", "out": "hits/top"}
    files = {"inputs": {"in": "in.txt"}, "outputs": {"out": "mnt/o.txt"}}
    disk.define(sealed("look", "cp", "query", "hits/top", **files, seenAs=seen_as))
    disk.succeed()
    assert disk.read("mnt/o.txt") == b"in\n" and not [*disk.root.rglob(".partial-*")]
