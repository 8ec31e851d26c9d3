"""The report shows the results of a run, and only what its record proves."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from pipeline_bench import PipelineBench, shell
from report_page import ReportPage

if TYPE_CHECKING:
    from pathlib import Path

MARKUP = "<script>alert(1)</script><b>'\"&amp;\N{RIGHT-TO-LEFT OVERRIDE}"
CONTENT = "a,b\n1,2\n"
COPY = shell("a", 'cp "$PIPELINE_INPUT_X" "$PIPELINE_OUTPUT_OUT"', inputs={"x": "in.txt"}, outputs={"out": "out/a.csv"})
COPY["results"] = ["out"]
CHANGED = "Not shown: it was changed after the run"


def page_of(bench: PipelineBench, *words: str, code: int = 0) -> ReportPage:
    done = bench.run("report", "-o", "-", *words)
    assert done.returncode == code, done.stderr
    page = ReportPage(done.stdout)
    assert [found for found in page.references() if found != "img" and not found.startswith("img src=data:")] == []
    return page


def results(bench: PipelineBench, *words: str, code: int = 0) -> list[str]:
    """The text of each result, with single spaces."""
    figures = [each for each in page_of(bench, *words, code=code).root.iter("figure") if each.get("class") == "result"]
    return [" ".join(" ".join(figure.itertext()).split()) for figure in figures]


def result(bench: PipelineBench, *words: str, code: int = 0) -> str:
    (only,) = results(bench, *words, code=code)
    return only


def copies(bench: PipelineBench, content: str = CONTENT, path: str = "out/a.csv", **fields: object) -> None:
    """Define a stage whose output is a copy of in.txt, and a result."""
    bench.write("in.txt", content)
    bench.define({**COPY, "outputs": {"out": path}, **fields}, vars={"who": "all <b>"})


def trees(bench: PipelineBench, **given: object) -> None:
    files = "echo two >b.txt; echo one >a.txt; echo three >s/c.txt; ln -s a.txt l.txt"
    make = f"mkdir -p $PIPELINE_OUTPUT_OUT/s; cd $PIPELINE_OUTPUT_OUT; {files}"
    bench.define(shell("a", make, outputs={"out": "out/d/"}, results={"out": given}))
    bench.succeed()


def test_a_result_has_its_texts_its_digest_and_the_stage_and_run_that_made_it(bench) -> None:
    copies(bench, results={"out": {"title": "Of {vars.who}", "caption": "By hand.", "group": "Tables"}})
    bench.succeed("--run-id", "one")
    page = page_of(bench)
    assert [[*row] for row in page.rows("results")] == [["a", "b"], ["1", "2"]]
    assert [heading.text for heading in page.root.findall(".//*[@id='results']//h3")] == ["Tables"]
    digest = hashlib.sha256(CONTENT.encode()).hexdigest()
    assert result(bench).startswith("Of all <b> By hand. a b 1 2 ")
    assert f"out/a.csv , 8 bytes, SHA-256 {digest} , by stage a in the run one" in result(bench)


def test_a_page_without_results_has_no_such_section(bench) -> None:
    copies(bench, results=[])
    bench.succeed()
    page = page_of(bench)
    assert not page.root.findall(".//section[@id='results']") and "#results" not in page.html


def test_each_instance_has_its_own_result(bench) -> None:
    many = shell(
        "m", "echo {each.n} >$PIPELINE_OUTPUT_OUT", outputs={"out": "out/{each.n}.txt"}, each={"n": ["1", "2"]}
    )
    bench.define({**many, "results": {"out": {"title": "Number {each.n}"}}})
    bench.succeed()
    assert [text[:10] for text in results(bench)] == ["Number 1 1", "Number 2 2"]


def test_names_and_contents_with_markup_are_text(bench) -> None:
    texts = dict.fromkeys(("title", "caption", "group"), MARKUP)
    copies(bench, MARKUP, path=f"out/{MARKUP.replace('/', '')}.txt".replace("\u202e", ""), results={"out": texts})
    bench.succeed()
    assert result(bench).count("<script>alert(1)</script><b>'\"&amp;\\u202e") == 3
    assert not [*page_of(bench).root.iter("script")] and "\N{RIGHT-TO-LEFT OVERRIDE}" not in page_of(bench).html


def replaced(path: Path) -> None:
    path.unlink()
    path.write_text("b,b\n1,2\n")


def truncated(path: Path) -> None:
    os.truncate(path, 4)


def in_place(path: Path) -> None:
    before = path.stat()
    path.write_text("b,b\n1,2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, truncated, in_place])
def test_a_result_that_was_changed_after_the_run_is_not_shown(bench, change) -> None:
    copies(bench)
    bench.succeed()
    change(bench.root / "out/a.csv")
    assert CHANGED in result(bench) and " 1 2 " not in result(bench) and "8 bytes" in result(bench)


def linked(path: Path) -> None:
    path.rename(path.with_name("b.csv"))
    path.symlink_to("b.csv")


def linked_above(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (linked, "is a symbolic link, not a regular file"), (linked_above, '"out" in its path is a symbolic link'),
        (fifo, "is a FIFO, not a regular file"), (directory, "is a directory, not a regular file"),
        (os.unlink, "it is not there"),
    ],
)  # fmt: skip
def test_a_result_is_a_regular_file_that_no_link_leads_to(bench, change, why) -> None:
    copies(bench)
    bench.succeed()
    change(bench.root / "out/a.csv")
    assert f"Not shown: {why}." in result(bench) and " 1 2 " not in result(bench)


def test_a_page_of_an_older_run_says_which_run_made_what_is_there(bench) -> None:
    copies(bench)
    bench.succeed("--run-id", "one")
    copies(bench, "a,b\n3,4\n")
    bench.succeed("--run-id", "two")
    assert "Not shown: what is there was made by the run two." in result(bench, "--run", "one")
    assert " 3 4 " in result(bench) and "in the run two" in result(bench)


@pytest.mark.parametrize("is_part", [False, True])
def test_a_stage_that_is_up_to_date_shows_what_an_earlier_run_made(bench, is_part) -> None:
    copies(bench)
    bench.succeed("--run-id", "one")
    if is_part:
        bench.define(shell("b", "echo >$PIPELINE_OUTPUT_OUT"), COPY)
    bench.succeed("--run-id", "two")
    assert " 1 2 " in result(bench) and "by stage a in the run one" in result(bench)
    bench.write("in.txt", "a,b\n3,4\n")
    bench.succeed()
    assert "Not shown: its stage was up to date, but its marker is another now." in result(bench, "--run", "two")


def test_an_adopted_result_names_the_run_that_made_it(bench) -> None:
    copies(bench)
    bench.succeed("--run-id", "one")
    copies(bench, name="renamed")
    bench.succeed("--run-id", "two")
    assert " 1 2 " in result(bench) and "by stage renamed in the run one" in result(bench)


def test_a_stage_that_failed_shows_nothing_that_an_earlier_run_made(bench) -> None:
    copies(bench)
    bench.succeed()
    copies(bench, "x", command=["false"])
    assert bench.run().returncode == 1
    assert "Not shown: this run did not make it: its stage is failed." in result(bench)


def test_new_texts_are_on_record_after_a_run_that_starts_no_stage(bench) -> None:
    copies(bench)
    bench.succeed()
    copies(bench, results={"out": {"title": "Another title"}}, description="Another one.")
    assert "1 up to date" in bench.succeed().stdout
    assert result(bench).startswith("Another title a b 1 2 ")


def test_an_edited_marker_proves_nothing(bench) -> None:
    copies(bench)
    bench.succeed()
    bench.succeed()
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (CONTENT, "b,b\n1,2\n")]
    marker = bench.root / "state/stage_a.json"
    marker.write_text(marker.read_text().replace(*digests))
    (bench.root / "out/a.csv").write_text("b,b\n1,2\n")
    assert "b b 1 2" not in result(bench, code=6)


def test_a_temporary_result_says_which_run_removed_it(bench) -> None:
    copies(bench, temporary=["out"])
    bench.succeed("--run-id", "one")
    assert "Not shown: it is temporary, and the run one removed it." in result(bench)


def test_a_copy_of_the_state_directory_shows_results_only_where_the_record_says_it_is(bench, tmp_path) -> None:
    copies(bench)
    bench.succeed()
    whole, state = tmp_path / "whole", tmp_path / "copy"
    shutil.copytree(bench.root, whole, ignore=shutil.ignore_patterns("whole", "copy"))
    shutil.copytree(bench.root / "state", state)
    bench.spec = whole / "state"
    assert " 1 2 " in result(bench)
    bench.spec = state
    digest = hashlib.sha256(CONTENT.encode()).hexdigest()
    assert "Not shown: its state directory is not where the record says." in result(bench) and digest in result(bench)


def test_of_a_directory_the_page_says_how_many_files_it_has(bench) -> None:
    trees(bench, title="All")
    assert result(bench).startswith("All out/d/ , 3 files, 14 bytes, SHA-256 ")
    (bench.root / "out/d/new").touch()
    assert CHANGED in result(bench) and "files" not in result(bench)


def test_files_of_a_directory_are_results_of_their_own_sorted_by_name(bench) -> None:
    trees(bench, title="All", files="*.txt", group="Texts")
    digest = hashlib.sha256(b"one\n").hexdigest()
    first, second, link = results(bench)
    assert first.startswith(f"All: a.txt one out/d/a.txt , 4 bytes, SHA-256 {digest} , by stage a")
    assert second.startswith("All: b.txt two ") and "Not shown: it is a symbolic link to a.txt." in link
    trees(bench, files="s/*")
    assert result(bench).startswith("out/d/s/c.txt three ")
    trees(bench, files="*.png")
    assert "Not shown: no file in it matches." in result(bench)


@pytest.mark.parametrize("changed", ["s/c.txt", "new"])
def test_no_file_of_a_directory_is_shown_if_any_of_it_was_changed(bench, changed) -> None:
    trees(bench, files="a.txt")
    (bench.root / "out/d" / changed).write_text("x")
    assert CHANGED in result(bench) and "one" not in result(bench)


def test_a_file_above_two_megabytes_is_checked_and_not_shown(bench) -> None:
    copies(bench, "1,2\n" * 500_001)
    bench.succeed()
    assert "Not shown: it is larger than 2.0 MB." in result(bench) and "2.0 MB, SHA-256" in result(bench)
    with (bench.root / "out/a.csv").open("r+") as file:
        file.write("3")
    assert CHANGED in result(bench)


def test_all_results_take_at_most_twenty_megabytes(bench) -> None:
    png = "\\211PNG\\r\\n\\032\\n\\000\\000\\000\\rIHDR\\000\\000\\000\\001\\000\\000\\000\\001"
    one = f"(printf '{png}'; head -c 1900000 /dev/zero) >$n.png"
    make = (
        f"mkdir $PIPELINE_OUTPUT_OUT; cd $PIPELINE_OUTPUT_OUT; for n in 10 11 12 13 14 15 16 17 18 19; do {one}; done"
    )
    bench.define(shell("a", make, outputs={"out": "out/d/"}, results={"out": {"files": "*"}}))
    bench.succeed()
    found = results(bench)
    assert ["no more room" in text for text in found] == [False] * 7 + [True] * 3
    assert len(page_of(bench).html) < 20_500_000


def test_the_page_says_that_a_directory_has_more_files_than_it_lists(bench) -> None:
    make = "mkdir $PIPELINE_OUTPUT_OUT; cd $PIPELINE_OUTPUT_OUT; touch $(seq {})"
    bench.define(shell("a", make.format(501), outputs={"out": "out/d/"}, results={"out": {"files": "*"}}))
    bench.succeed()
    assert len(results(bench)) == 500 and "no more than 500 results" in page_of(bench).html
    bench.define(shell("a", make.format(500), outputs={"out": "out/d/"}, results={"out": {"files": "*"}}))
    bench.succeed()
    assert len(results(bench)) == 500 and "no more than 500 results" not in page_of(bench).html


def test_a_result_that_is_not_what_its_name_says_is_not_shown(bench) -> None:
    copies(bench, "\0\1", path="out/a.csv")
    bench.succeed()
    assert "Not shown: its content is not text." in result(bench)


def test_the_page_allows_nothing_but_its_own_styles_and_pictures_in_it(bench) -> None:
    copies(bench)
    bench.succeed()
    (policy,) = [meta.get("content") for meta in page_of(bench).root.iter("meta") if meta.get("http-equiv")]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_auditors_part_is_behind_a_click_unless_the_record_is_damaged(bench) -> None:
    copies(bench)
    bench.succeed()
    (part,) = page_of(bench).root.iter("details")
    assert [section.get("id") for section in part.iter("section")] == ["files", "network", "record"]
    assert part.get("open") is None
    ledger = bench.root / "state/audit_ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"pipeline"', '"pipelines"', 1))
    assert next(page_of(bench, code=6).root.iter("details")).get("open") is not None
