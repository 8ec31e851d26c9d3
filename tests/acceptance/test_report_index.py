"""`offpipe report DIR ... -o DIRECTORY` writes a page for each pipeline, and an index of them."""

from __future__ import annotations

import re
import resource
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import kill_and_await, shell, wait_for
from report_page import ReportPage
from state_directories import GOOD, KINDS, call, made, states, summary

if TYPE_CHECKING:
    from pathlib import Path


def index(*targets: Path, to: Path, code: int = 0) -> ReportPage:
    call("report", *targets, words=("-o", f"{to}/"), code=code)
    return ReportPage((to / "index.html").read_text())


@pytest.mark.parametrize(("kinds", "code"), [(("good", "failed"), 0), (("foreign", "none"), 74)])
def test_the_exit_code_is_that_of_the_worst_record(tmp_path, kinds, code) -> None:
    index(*states(*kinds), to=tmp_path / "pages", code=code)


def test_one_state_directory_has_an_index_too_if_a_directory_is_named(tmp_path) -> None:
    page = index(*states("good"), to=tmp_path / "new" / "pages")
    assert page.root.find(".//h1").text == "1 pipeline"


def test_a_run_at_work_is_running_in_the_index(bench, tmp_path) -> None:
    bench.define(shell("trim", GOOD))
    bench.succeed()
    bench.define(shell("trim", "sleep 60"))
    process = bench.start()
    wait_for(lambda: len(bench.records("attempt.started")) == 2)
    page = index(bench.root / "state", to=tmp_path / "pages")
    kill_and_await(process)
    assert page.rows("pipelines")[1][1] == "running before: succeeded"
    assert index(bench.root / "state", to=tmp_path / "pages").rows("pipelines")[1][1] == "did not end"


def test_the_index_says_of_each_pipeline_what_a_person_needs_the_worst_first(tmp_path) -> None:
    page = index(*states(*KINDS), to=tmp_path, code=6)
    rows = page.rows("pipelines")[1:]
    assert [row[0].split()[0] for row in rows] == ["damaged", "unknown", "unknown", "failed", "good"]
    assert [row[1] for row in rows] == ["succeeded", "unreadable", "no record", "failed", "succeeded"]
    damaged, _, foreign, failed, good = rows
    time_and_age = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .+ ago"
    assert all(re.fullmatch(time_and_age, row[2]) for row in (damaged, failed, good)) and foreign[2] == "never"
    assert "failed with exit 1, run two" in failed[3] and "stage trim: failed with exit 3" in failed[3]
    assert good[3] == "none" and good[4] == "intact" and "audit_one.jsonl:3: hash" in damaged[4]


def test_every_link_of_the_index_leads_to_the_page_of_that_pipeline(tmp_path) -> None:
    page = index(*states(*KINDS), to=tmp_path, code=6)
    links = {link.text: link.get("href") for link in page.root.iter("a")}
    assert links.keys() == {"good", "failed", "damaged"}
    assert {tmp_path / name for name in (*links.values(), "index.html")} == {*tmp_path.iterdir()}
    for name, link in links.items():
        assert ReportPage((tmp_path / link).read_text()).root.find(".//h1").text == name
    assert {each.removeprefix("a href=") for each in page.references()} == {*links.values()}, "and to nothing else"


def test_pages_keep_their_names_and_pipelines_of_one_name_have_two(tmp_path) -> None:
    for place in ("a", "b"):
        shutil.copytree(made() / "good/state", tmp_path / place / "state")
    index(tmp_path / "a/state", tmp_path / "b/state", to=tmp_path / "pages")
    first = sorted(path.name for path in (tmp_path / "pages").iterdir())
    index(tmp_path / "b/state", tmp_path / "a/state", states("failed")[0], to=tmp_path / "pages")
    assert len(first) == 3 and set(first) < {path.name for path in (tmp_path / "pages").iterdir()}


def test_only_files_of_our_own_making_are_replaced(tmp_path) -> None:
    targets = states("good", "failed")
    index(*targets, to=tmp_path / "pages")
    page = next((tmp_path / "pages").glob("good-*.html"))
    for path in (page, tmp_path / "pages/index.html"):
        kept = path.read_bytes()
        path.write_text("a person's own page\n")
        done = call("report", *targets, words=("-o", str(tmp_path / "pages")), code=2)
        assert "holds something else, so it is not replaced" in done.stderr
        assert path.read_text() == "a person's own page\n"
        path.write_bytes(kept)
    index(*targets, to=tmp_path / "pages")


def test_a_directory_of_one_of_the_pipelines_gets_no_page(tmp_path) -> None:
    shutil.copytree(made() / "good/state", tmp_path / "state")
    before = {*tmp_path.rglob("*")}
    done = call("report", *states("failed"), tmp_path / "state", words=("-o", str(tmp_path / "state/new")), code=2)
    assert "belongs to the pipeline" in done.stderr and {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("words", "what"), [
    ((), "-o: the pages of several pipelines need a directory"), (("-o", "-"), "-o: the pages of several pipelines"),
    (("-o", "x", "--run", "one"), "--run: is for the report of one pipeline"),
])  # fmt: skip
def test_several_pipelines_need_a_directory_for_their_pages(words, what) -> None:
    assert what in call("report", *states("good", "failed"), words=words, code=2).stderr


def test_names_cannot_change_the_index(tmp_path) -> None:
    odd = tmp_path / "<script>alert(1)<b>'\"&amp;"
    shutil.copytree(made() / "failed/state", odd)
    page = index(odd, tmp_path / "<i>none", to=tmp_path / "pages", code=74)
    assert not [*page.root.iter("script")] and str(odd) in page.rows("pipelines")[2][0]


def test_the_title_counts_what_succeeded(tmp_path) -> None:
    page = index(*states("good", "failed"), tmp_path / "none", to=tmp_path / "pages", code=74)
    assert page.root.find(".//title").text == "3 pipelines: 1 succeeded"


@pytest.mark.full
def test_a_hundred_state_directories_take_at_most_five_seconds(tmp_path) -> None:
    kinds = ("good", "good", "good", "failed", "damaged", "foreign")
    targets = [tmp_path / f"{number:03}-{kinds[number % 6]}" for number in range(100)]
    for number, target in enumerate(targets):
        shutil.copytree(made() / kinds[number % 6] / "state", target)
    for work in (lambda: summary(*targets, code=6), lambda: index(*targets, to=tmp_path / "pages", code=6)):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        work()
        after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert min(used or took, took) < 5, "others may use the processors, too"
    rows = ReportPage((tmp_path / "pages/index.html").read_text()).rows("pipelines")[1:]
    outcomes = {"good": "succeeded", "failed": "failed", "damaged": "succeeded", "foreign": "no record"}
    assert len(rows) == 100
    for row in rows:
        assert row[1] == outcomes[row[0].rpartition("-")[2]]
