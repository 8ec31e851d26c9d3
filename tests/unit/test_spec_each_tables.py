import pytest

from runner.spec.each.tables import Disk, SourceError


@pytest.fixture
def disk(tmp_path):
    for path in ("in/a.txt", "in/b.txt", "in/.c.txt", "in/d.csv", "in/sub/x.txt", "state/s.txt", "in/other/y.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "in/dangling.txt").symlink_to("nowhere")
    return Disk(str(tmp_path), (f"{tmp_path}/state",), (), None)


@pytest.mark.parametrize(
    ("head", "tail", "paths"),
    [
        ("in/", ".txt", ["in/a.txt", "in/b.txt", "in/dangling.txt"]),
        ("in/a", "", ["in/a.txt"]),
        ("in/", "/x.txt", ["in/sub/x.txt"]),
        ("", "/s.txt", []),
        ("nowhere/", ".txt", []),
        ("in/a.txt/", "", []),
    ],
)
def test_names_the_files_that_a_pattern_matches(disk, head, tail, paths):
    assert sorted(disk.files(head, tail)) == paths


def test_a_pattern_may_match_files_beside_root(disk, tmp_path):
    assert Disk(f"{tmp_path}/in", (), (), None).files("../state/", "") == ["../state/s.txt"]


def test_files_that_are_left_out_match_nothing(disk, tmp_path):
    assert Disk(str(tmp_path), (), [f"{tmp_path}/in/a.txt"], None).files("in/", "a.txt") == []
    assert disk.files("in/", "a.txt") == ["in/a.txt"]


def test_notes_the_paths_on_which_its_answers_depend(disk, tmp_path):
    list(disk.files("in/", "/x.txt"))
    assert disk.examined == {f"{tmp_path}/in"} | {
        f"{tmp_path}/in/{name}/x.txt" for name in ("a.txt", "b.txt", "d.csv", "sub", "other", "dangling.txt")
    }
    disk.examined.clear()
    list(disk.files("in/", ".txt"))
    assert disk.examined == {f"{tmp_path}/in", f"{tmp_path}/in/dangling.txt"}


def test_a_directory_that_cannot_be_listed_is_missing(disk, monkeypatch):
    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(SourceError) as caught:
        list(disk.files("in/", ""))
    assert caught.value.is_missing and caught.value.finding.what == '"in": Permission denied'


def test_cells_are_text_and_json_keeps_its_types(disk, tmp_path):
    (tmp_path / "t.csv").write_bytes(b'n,text\r\n012,"a ""b"",\r\nc"\r\n\r\n1e5,\r\n')
    assert disk.table("t.csv").rows == [
        ("t.csv:2", {"n": "012", "text": 'a "b",\r\nc'}), ("t.csv:5", {"n": "1e5", "text": ""})
    ]  # fmt: skip
    (tmp_path / "t.json").write_text('[{"n": 12.50, "flag": true}]')
    ((place, row),) = disk.table("t.json").rows
    assert (place, row, str(row["n"])) == ("t.json#/0", {"n": 12.5, "flag": True}, "12.50")


@pytest.mark.parametrize("name", ["absent.csv", "in"])
def test_a_table_that_is_absent_is_missing(disk, name):
    with pytest.raises(SourceError) as caught:
        disk.table(name)
    assert caught.value.is_missing == (name != "in")


def test_a_table_without_rows_knows_its_columns_if_it_has_a_header(disk, tmp_path):
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "empty.json").write_text("[]")
    assert disk.table("empty.csv") == (("a", "b"), [])
    assert disk.table("empty.json") == ((), [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.fai", "chr1\t248\t6\nchr2\t242\t9\n"),
        ("t.TSV", "chr1\t248\n\nchr2\t242\tx\ty\n"),
        ("t.csv", "chr1,248\nchr2,242,z\n"),
    ],
)
def test_names_for_a_table_without_a_header_leave_further_columns_out(disk, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    rows = [row for _, row in disk.table(name, ("contig", "length")).rows]
    assert rows == [{"contig": "chr1", "length": "248"}, {"contig": "chr2", "length": "242"}]
    with pytest.raises(SourceError) as caught:
        disk.table(name, ("a", "b", "c", "d", "e"))
    assert caught.value.finding.what.startswith(f"{name}:1: has ") and caught.value.finding.what.endswith(
        '"columns" has 5 names'
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "s,Conc. (ng/ul),\na,3,\n"), ("T.TSV", "s\tConc. (ng/ul)\t\na\t3\t\n"),
     ("t.JSON", '[{"s": "a", "Conc. (ng/ul)": "3", "": ""}]')],
)  # fmt: skip
def test_a_column_may_have_any_name_and_an_extension_any_case(disk, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    ((_, row),) = disk.table(name).rows
    assert row == {"s": "a", "Conc. (ng/ul)": "3", "": ""}


@pytest.mark.parametrize("rest", ["", 'b,"x\n', "c,d\n" * 30_000])
def test_a_quote_without_its_end_is_reported_where_its_row_begins(disk, tmp_path, rest):
    (tmp_path / "t.csv").write_text('s,t\n"a\nb",c\n\nd,"e\n' + rest)
    with pytest.raises(SourceError) as caught:
        disk.table("t.csv")
    assert caught.value.finding.what.startswith("t.csv:5: ") and "close the quote" in caught.value.finding.hint


def test_a_cell_that_is_too_long_is_refused_with_the_limit(disk, tmp_path):
    (tmp_path / "t.csv").write_text("s,t\na," + "x" * 131_073 + "\n")
    with pytest.raises(SourceError) as caught:
        disk.table("t.csv")
    assert caught.value.finding.what.startswith("t.csv:2: ")
    assert "a cell has at most 131,072 characters" in caught.value.finding.hint


def test_a_table_may_be_wide(disk, tmp_path):
    wide = ",".join(f"c{number}" for number in range(100_000))
    (tmp_path / "t.csv").write_text(f"{wide}\n{wide}\n")
    ((_, row),) = disk.table("t.csv").rows
    assert len(row) == 100_000
