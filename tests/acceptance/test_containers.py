"""docs/containers.md: the spec on the page runs its stage in an image, which is in the key, and inside the guard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline_bench import ROOT

from runner.errors import EXIT_OFFLINE

PAGE = (ROOT / "docs/containers.md").read_text()
SPEC = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
BASH, SORT = shutil.which("bash"), shutil.which("sort")

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed here")


@pytest.fixture
def place(bench):
    """A bench with the page's spec, its input, and an image of bash and sort."""
    bench.spec.write_text(json.dumps(SPEC))
    bench.write("data/words.txt", "b\na\n")
    image = bench.root / "images/tools"
    for directory in ("bin", "dev", "proc", "tmp", "work"):
        (image / directory).mkdir(parents=True)
    for program in (BASH, SORT):
        shutil.copy(program, image / "bin")
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"/\S+", libraries):
            copied = Path(f"{image}{library}")
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copied)
    return bench


def put(bench, *command):
    """Run this command in the image instead of sort."""
    stage = SPEC["stages"][0]
    spec = {**SPEC, "stages": [{**stage, "command": [*stage["command"][:2], *command]}]}
    bench.spec.write_text(json.dumps(spec))


def test_the_spec_of_the_page_runs_in_the_image(place):
    place.succeed()
    assert place.read("out/sorted.txt") == b"a\nb\n"
    assert place.json("run")["stages"]["sort"]["status"] == "skipped"


def test_a_stage_sees_the_files_of_the_image_and_its_own(place):
    put(place, "bash", "-c", 'for file in /* /work/*; do echo "$file"; done >"$0"', "{outputs.sorted}")
    place.write("other.txt", "not declared\n")
    place.write("images/tools/etc/from-the-image", "")
    place.succeed()
    seen = set(place.read("out/sorted.txt").decode().split())
    assert {"/etc", "/bin", "/work/data", "/work/out"} <= seen
    assert seen.isdisjoint({"/usr/share", "/home", "/var", "/work/other.txt"})


def test_another_file_in_the_image_runs_the_stage_again(place):
    place.succeed()
    place.write("images/tools/etc/version", "2\n")
    done = place.json("run")["stages"]["sort"]
    assert (done["status"], "image" in str(done)) == ("succeeded", True)


def test_an_attempt_to_reach_a_network_in_the_image_is_on_record(place):
    put(place, "bash", "-c", 'echo >"$0"; exec 3<>/dev/tcp/192.0.2.1/80', "{outputs.sorted}")
    assert place.run().returncode == EXIT_OFFLINE
    (attempt,) = place.records("offline.attempt")
    assert (attempt["data"]["program"], attempt["data"]["family"]) == ("bash", "AF_INET")
