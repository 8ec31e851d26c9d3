"""The check `hostile`: which stages have it, what it finds, and what it lets a stage do."""

from __future__ import annotations

import pytest
from spec_project import SpecProject

TABLE = "name,count\nann,1\nbob,2\ncy,3\n"
ALONE = ("--offpipe-spec", "it.json", "--offpipe-checks", "hostile", "-rs", "-p", "no:cacheprovider")
READS = """
    import csv, os
    with open(os.environ["PIPELINE_INPUT_TEXT"], encoding="utf-8-sig", newline="") as source:
        rows = list(csv.DictReader(source))
    with open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
        for row in rows:
            print(row["name"], row["count"], file=to)
"""


@pytest.fixture
def project(pytester):
    project = SpecProject(pytester)
    project.write("in.csv", TABLE)
    return project


def checked(project, script, *arguments, path="in.csv", **fields):
    """Run the check of a stage of this script, which reads the file at `path`."""
    project.spec(project.shell(script, inputs={"text": path}, **fields))
    return project.pytest(*ALONE, *arguments, checks=False)


def extension(**fields):
    return {"x-offpipe": fields}


CORRECT = {
    "cat": 'cat "$i" >"$o"',
    "sort": 'sort "$i" >"$o"',
    "head": 'head -n 2 "$i" >"$o"',
    "wc": 'wc -l <"$i" >"$o"',
    "gzip": 'gzip -n <"$i" >"$o"',
    "awk sum": """awk -F, 'NR > 1 { n += $2 } END { print n + 0 }' "$i" >"$o" """,
    "awk filter": """awk -F, 'NR > 1 && $2 > 2' "$i" >"$o" """,
    "refuses": """grep -q '^[a-z]*,[0-9]*$' "$i" || { echo "no rows" >&2; exit 1; }; cat "$i" >"$o" """,
    "a row by its number": """awk 'NR == 4' "$i" >"$o" """,
    "no matches": 'grep -w zoe "$i" >"$o" || test $? = 1',
    "tac": 'tac "$i" >"$o"',
    "uniq": 'sort "$i" | uniq -c >"$o"',
    "tail": 'tail -n +2 "$i" >"$o"',
    "footer": '{ cat "$i"; echo end; } >"$o"',
    "drops the last": """sed '$d' "$i" >"$o" """,
}


@pytest.mark.parametrize("name", CORRECT)
def test_correct_stages_pass(project, name):
    checked(project, CORRECT[name]).assert_outcomes(passed=1)


def test_a_blank_last_line_is_more_than_a_last_newline(project):
    project.write("in.csv", f"{TABLE}\n")
    checked(project, CORRECT["cat"]).assert_outcomes(passed=1)


def test_a_program_that_reads_csv_as_it_should_passes(project):
    project.write("work.py", READS)
    project.spec({"name": "work", "processor": "work.py", "inputs": {"text": "in.csv"}, "outputs": {"text": "o.txt"}})
    project.pytest(*ALONE, checks=False).assert_outcomes(passed=1)


FAULTY = {
    "drops a line without newline": (
        'while read -r line; do echo "$line"; done <"$i" >"$o"',
        "in.csv, noLastNewline: exit 0, output text lacks one line*",
    ),
    "the same before a sort": (
        'while read -r line; do echo "$line"; done <"$i" | sort -r >"$o"',
        "in.csv, noLastNewline: exit 0, output text lacks one line*",
    ),
    "crashes": ('test -s "$i" || kill -SEGV $$; cat "$i" >"$o"', "*SIGSEGV*"),
    "a program of its crashes": ('test -s "$i" || sh -c "kill -SEGV \\$\\$"; cat "$i" >"$o"', "in.csv, empty: *139*"),
    "hangs": ('while ! test -s "$i"; do sleep 0.1; done; cat "$i" >"$o"', "in.csv, empty: *time*"),
    "line ends": (
        """awk -F, '$2 == "3"' "$i" >"$o" """,
        "in.csv, crlf: exit 0, output text is empty",
    ),
    "byte order mark": ("""sed -n '/^name/,$p' "$i" >"$o" """, "in.csv, bom: exit 0, output text is empty"),
    "one row": ("""tail -n +2 "$i" | head -n -1 >"$o" """, "in.csv, oneRow: exit 0, output text is empty"),
    "order": (
        """tail -n +2 "$i" >rows.tmp; sort -c rows.tmp && cat rows.tmp >"$o" || : >"$o"; rm rows.tmp""",
        "in.csv, shuffled: exit 0, output text is empty",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_stages_fail(project, name):
    script, line = FAULTY[name]
    result = checked(project, script, "--offpipe-seed", "1", timeoutSeconds=2)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])


def test_the_message_names_kind_input_end_and_log(project):
    script = 'while read -r line; do echo "$line"; done <"$i" >"$o"; echo read it >&2'
    checked(project, script).stdout.fnmatch_lines(
        [
            "in.csv, noLastNewline: exit 0, output text lacks one line, and only the last newline of the input is gone",
            "  done:     ran it with in.csv replaced by its text without the last newline",
            "  expected: an exit code other than 0, or outputs with all that the input has",
            "  log:      read it",
        ]
    )


@pytest.mark.parametrize(
    ("declared", "script", "outcome"),
    [
        ({"empty": "fails"}, 'test -s "$i"; cat "$i" >"$o"', "passed"),
        ({"empty": "fails"}, 'cat "$i" >"$o"', "failed"),
        ({"empty": "fails"}, 'test -s "$i" || kill -KILL $$; cat "$i" >"$o"', "failed"),
        ({"headerOnly": "succeeds"}, 'tail -n +2 "$i" >"$o"', "passed"),
        ({"headerOnly": "succeeds"}, 'tail -n +2 "$i" | grep . >"$o"', "failed"),
        ({"oneRow": "succeeds"}, 'tail -n +2 "$i" | head -n -1 >"$o"', "passed"),
    ],
)
def test_the_spec_says_how_a_kind_of_input_ends(project, declared, script, outcome):
    result = checked(project, script, **extension(hostile=declared))
    result.assert_outcomes(**{outcome: 1})


def test_what_happens_without_rows_is_noted(project):
    result = checked(project, 'test -s "$i" || exit 3; tail -n +2 "$i" >"$o"', "--junitxml", "it.xml")
    result.assert_outcomes(passed=1)
    noted = project.path.joinpath("it.xml").read_text()
    assert "in.csv, empty: stage work: failed with exit 3" in noted
    assert "in.csv, headerOnly: exit 0, output text is empty" in noted


def test_only_stages_with_a_source_table_have_the_check(project):
    rows = project.shell('cat "$i" >"$o"', "rows", {"text": "in.csv"}, {"text": "out/rows.csv"})
    made = project.shell('cat "$i" >"$o"', "made", {"text": "out/rows.csv"})
    matched = project.shell('cat "$i" >"$o"', "matched", {"text": "out/*.csv"})
    plain = project.shell('cat "$i" >"$o"', "plain")
    project.spec(rows, made, matched, plain)
    assert project.collected("--offpipe-spec", "it.json", *ALONE[2:], checks=False) == ["it.json::rows[hostile]"]


def test_an_empty_field_adds_the_check_for_any_text(project):
    drops = 'while read -r line; do echo "$line"; done <"$i" >"$o"'
    result = checked(project, drops, path="in.txt", **extension(hostile={}))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["in.txt, noLastNewline: *"])


def test_skip_checks_turns_it_off(project):
    checked(project, 'kill -9 "$$"', **extension(skipChecks={"hostile": "slow"})).assert_outcomes(skipped=1)


def test_binary_and_other_encodings_are_not_text(project):
    for content in (b"a,b\n\x00,1\n", "näme,x\n".encode("latin-1")):
        project.path.joinpath("in.csv").write_bytes(content)
        result = checked(project, 'cat "$i" >"$o"')
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["*no input that no stage makes and that is UTF-8 text*"])


@pytest.mark.parametrize("arguments", [(), ("--offpipe-inputs", "small")])
def test_a_sheet_that_gives_values_stays_as_it_is(project, arguments):
    project.write("small/in.csv", TABLE)
    stage = project.shell('cat "$i" >"$o"', inputs={"text": "in.csv"}, outputs={"text": "out/{each.name}.txt"})
    project.spec(stage | {"each": {"rows": "in.csv"}})
    result = project.pytest(*ALONE, *arguments, checks=False)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no input that no stage makes*"])


def test_an_instance_of_a_template_is_checked(project):
    project.write("b.csv", TABLE)
    drops = 'while read -r line; do echo "$line"; done <"$i" >"$o"'
    stage = project.shell(drops, inputs={"text": "{each.name}.csv"}, outputs={"text": "out/{each.name}.txt"})
    project.spec(stage | {"each": {"name": ["b", "in"]}})
    project.pytest(*ALONE, checks=False).stdout.fnmatch_lines(["b.csv, noLastNewline: *"])


def test_what_does_not_fit_into_the_budget_is_left_out_and_noted(project):
    script = 'cat "$i" >"$o"; test -s "$i" || sleep 0.6'
    result = checked(project, script, "--offpipe-budget", "0.5", "-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["in.csv, noLastNewline: left out, for --offpipe-budget"])


def test_a_quoted_field_with_line_ends_is_no_row(project):
    project.write("in.csv", 'name,note\nann,"two\nlines"\nbob,one\n')
    result = checked(project, """tail -n +2 "$i" | head -n -1 >"$o" """)
    result.assert_outcomes(passed=1)


def test_files_of_a_directory_are_looked_at(project):
    script = 'mkdir -p "$o"; while read -r line; do echo "$line"; done <"$i" >"$o/rows.txt"; echo >"$o/other.txt"'
    result = checked(project, script, outputs={"text": "out/"})
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["in.csv, noLastNewline: exit 0, output text lacks one line*"])


def test_a_sealed_stage_sees_the_damage(project):
    result = checked(project, 'while read -r line; do echo "$line"; done <"$i" >"$o"', sealed=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["in.csv, noLastNewline: *"])


def test_volatile_lines_are_not_compared(project):
    drops = 'while read -r line; do echo "$line"; done <"$i" >"$o"'
    checked(project, drops, **extension(volatile="stamps the time")).assert_outcomes(passed=1)


def test_lines_are_compared_after_filters(project):
    script = """
        date +"# %N" >"$o"
        while read -r line; do echo "$line"; done <"$i" >>"$o"
    """
    filters = {"normalise": {"txt": ["sed", "/^#/d"]}}
    result = checked(project, script, **extension(**filters))
    result.stdout.fnmatch_lines(["in.csv, noLastNewline: exit 0, output text lacks one line*"])


def test_other_text_stays_as_it_is_beside_a_table(project):
    drops = 'while read -r line; do echo "$line"; done <"$PIPELINE_INPUT_LIST" >"$o"; cat "$i" >>"$o"'
    project.spec(project.shell(drops, inputs={"text": "in.csv", "list": "in.txt"}))
    project.pytest(*ALONE, checks=False).assert_outcomes(passed=1)


def test_a_retry_does_not_repeat_what_is_refused(project):
    script = 'test -s "$i" || { echo x >>"$HOME/tries"; test "$(wc -l <"$HOME/tries")" = 1 || kill -SEGV $$; exit 75; }'
    result = checked(project, f'{script}; cat "$i" >"$o"', retry={"attempts": 3, "delaySeconds": 0})
    result.assert_outcomes(passed=1)
