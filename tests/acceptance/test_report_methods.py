"""The report has a paragraph of methods, from the descriptions in the spec and the versions on record."""

from __future__ import annotations

from pipeline_bench import shell
from report_page import ReportPage


def methods(bench) -> str:
    page = ReportPage(bench.succeed("report", "-o", "-").stdout)
    assert list(page.references()) == []
    return page.text("methods").removeprefix(" Methods ")


def test_descriptions_and_versions_make_a_paragraph(bench) -> None:
    version = {"programVersion": ["sh", "-c", "echo trimmer 1.2"]}
    trim = {
        "name": "trim", "each": {"s": ["a", "b"]}, "command": ["sh", "-c", "echo >$PIPELINE_OUTPUT_OUT"],
        "outputs": {"out": "w/{each.s}"}, "description": "Cuts <b>adapters</b>\nand short reads", **version,
    }  # fmt: skip
    silent = shell("silent", "echo >$PIPELINE_OUTPUT_OUT")
    bench.define(trim, silent, description="Counts of the night.")
    bench.succeed()
    text = methods(bench)
    assert text.startswith("Counts of the night. trim (2 instances) : Cuts <b>adapters</b> and short reads. It used")
    assert "It used trimmer 1.2. Run by offpipe " in text and "silent" not in text
    bench.succeed()
    assert "It used trimmer 1.2." in methods(bench), "the run with nothing to do has the markers"


def test_the_packages_of_tools_are_listed_once_for_all_stages_that_have_them(bench) -> None:
    for name in ("samtools-1.19-0", "zlib-1.3-h1"):
        bench.write(f"envs/bio/conda-meta/{name}.json", "{}")
    bench.write("envs/py/pyvenv.cfg", "version = 3.11.7\n")
    bench.write("envs/py/lib/python3.11/site-packages/pysam-0.22.dist-info/RECORD", "pysam.py,,\n")
    made = "echo >$PIPELINE_OUTPUT_OUT"
    bench.define(
        shell("sort", made, tools="envs/bio"),
        shell("index", made, tools="envs/bio"),
        shell("count", made, tools=["envs/bio", "envs/py"]),
    )
    bench.succeed()
    text = methods(bench)
    assert text.startswith("Run by offpipe "), "no stage says anything of itself"
    assert "2 packages in the environment of sort, index samtools-1.19-0, zlib-1.3-h1 " in text
    assert "4 packages in the environment of count pysam-0.22, python 3.11.7, samtools-1.19-0, zlib-1.3-h1 " in text


def test_the_paragraph_is_that_of_the_run(bench) -> None:
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT", description="Old"))
    bench.succeed("--run-id", "one")
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT", description="New"))
    bench.succeed("-f")
    assert "a : New." in methods(bench)
    assert "a : Old." in ReportPage(bench.succeed("report", "-o", "-", "--run", "one").stdout).text("methods")


def test_without_descriptions_and_versions_there_is_no_paragraph(bench) -> None:
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    page = ReportPage(bench.succeed("report", "-o", "-").stdout)
    assert page.root.find(".//section[@id='methods']") is None and "#methods" not in page.html
