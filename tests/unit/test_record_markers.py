"""A marker is trusted whole or not at all."""

import json

import pytest

from runner.record.markers import Marker, OutputIdentity

IDENTITY = OutputIdentity("out.txt", 5, "0" * 64, 2**63 + 1, 1_700_000_000_123_456_789)
MARKER = Marker("a", "k" * 64, 1, {"params": {"x": 1.5, "n": "\udce9"}, "inputs": {}}, {"out": IDENTITY}, "run", 7,
                [["marker", "no completed run", None, None]])  # fmt: skip


def test_a_marker_reads_back_as_it_was_written():
    assert Marker.decode(MARKER.encode()) == MARKER


def test_a_marker_keeps_the_ctimes_of_its_outputs():
    marker = MARKER.with_ctime(1_796_000_000_123_456_789)
    assert Marker.decode(marker.encode()) == marker != MARKER
    assert marker.with_ctime(None) == MARKER


def test_a_marker_keeps_former_outputs_with_the_run_that_made_each():
    former = (
        IDENTITY._replace(path="old.txt", run="first"),
        IDENTITY._replace(path="d/", content="1" * 64, run="second"),
    )
    marker = MARKER._replace(former=former)
    assert Marker.decode(marker.encode()) == marker
    assert marker.with_ctime(5).with_ctime(None) == marker
    assert [output.run for output in marker.all_outputs()] == ["run", "first", "second"]


def test_a_marker_keeps_the_version_of_the_program():
    marker = MARKER._replace(program_version="tool 1.2")
    assert Marker.decode(marker.encode()) == marker


def test_a_marker_without_former_outputs_has_the_fields_of_earlier_releases():
    assert set(json.loads(MARKER.encode())) == {
        "auditSeq", "checksum", "components", "key", "keyVersion", "outputs", "reasons", "run", "stage", "v",
    }  # fmt: skip


def test_a_marker_is_one_json_object_on_one_line():
    content = MARKER.encode()
    assert json.loads(content)["v"] == 1
    assert content.count(b"\n") == 1 and content.endswith(b"}\n")


def test_a_flipped_bit_anywhere_is_noticed():
    content = MARKER.encode()
    for at in range(len(content)):
        for bit in (1, 0x80):
            damaged = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
            assert Marker.decode(damaged) is None, (at, bit)


def test_a_part_of_a_marker_is_no_marker():
    content = MARKER.encode()
    assert [at for at in range(len(content)) if Marker.decode(content[:at]) is not None] == []
    assert Marker.decode(content + b"\n") is None
    assert Marker.decode(content * 2) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\x00" * 500, b"[" * 100_000, b'{"v":1}\n'])
def test_other_content_is_no_marker(content):
    assert Marker.decode(content) is None


def sealed(body):
    from runner.canonical import canonical
    from runner.record.markers import _checksum

    text = canonical(body)
    return text[:-1] + f',"checksum":"{_checksum(text)}"}}\n'.encode()


@pytest.mark.parametrize("former", [5, "x", {}, None, [5], [{}], ["x"], [{**IDENTITY.as_json(), "size": "x"}]])
def test_former_outputs_of_another_shape_are_damage(former):
    body = json.loads(MARKER.encode())
    del body["checksum"]
    assert Marker.decode(sealed({**body, "former": []})) == MARKER
    assert Marker.decode(sealed({**body, "former": former})) is None


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e400"])
def test_a_number_that_has_no_spelling_is_damage(number):
    text = MARKER.encode().partition(b',"checksum"')[0].replace(b"1.5", number) + b"}"
    from runner.record.markers import _checksum

    assert Marker.decode(text[:-1] + f',"checksum":"{_checksum(text)}"}}\n'.encode()) is None


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"v": "1"}, {"v": None}, {"outputs": []}, {"outputs": {"out": {}}}, {"outputs": {"out": 5}},
               {"outputs": {"out": {"path": "x", "size": "big", "sha256": "", "inode": 1, "mtimeNs": 1}}},
               {"stage": None}, {"run": 5}, {"auditSeq": "1"}, {"reasons": ["x"]}, {"reasons": [["a", "b"]]},
               {"components": [[]]}, {"components": {"inputs": []}}, {"components": {"inputs": {"in": [["x"]]}}},
               {"components": {"code": 5}}, {"components": {"code": {"files": [1]}}},
               {"components": {"code": {"absent": [[]]}}},
               {"programVersion": 5}, {"programVersion": None},
               {"visibleNs": []}, {"visibleNs": {"none": 1}}, {"visibleNs": {"out": "x"}}],
)  # fmt: skip
def test_a_sound_checksum_over_something_else_is_not_enough(change):
    body = json.loads(MARKER.encode())
    del body["checksum"]
    assert Marker.decode(sealed(body)) == MARKER
    assert Marker.decode(sealed({**body, **change})) is None


@pytest.mark.parametrize("spelled", [IDENTITY.as_json(), IDENTITY.as_record()])
def test_an_identity_reads_back_from_marker_and_record(spelled):
    assert OutputIdentity.from_json(json.loads(json.dumps(spelled))) == IDENTITY


def test_a_record_holds_no_integer_that_a_reader_could_round():
    assert all(not isinstance(value, int) or value < 2**53 for value in IDENTITY.as_record().values())


def test_an_identity_matches_the_file_that_it_was_taken_of_and_no_other(tmp_path):
    path = tmp_path / "out.txt"
    path.write_bytes(b"12345")
    status = path.stat()
    identity = OutputIdentity("out.txt", 5, "0" * 64, status.st_ino, status.st_mtime_ns)
    path.rename(tmp_path / "renamed")
    assert identity.matches((tmp_path / "renamed").stat())
    for field in ("size", "inode", "mtime_ns"):
        assert not identity._replace(**{field: getattr(identity, field) + 1}).matches(status)


def test_another_ctime_is_noticed(tmp_path):
    path = tmp_path / "out.txt"
    path.write_bytes(b"12345")
    status = path.stat()
    identity = OutputIdentity("out.txt", 5, "0" * 64, status.st_ino, status.st_mtime_ns)
    placed = identity.in_place(str(tmp_path))
    assert placed.ctime_ns == status.st_ctime_ns and placed.is_unchanged(status)
    path.chmod(0o600)
    while path.stat().st_ctime_ns == status.st_ctime_ns:
        path.chmod(0o600)
    assert placed.matches(path.stat()) and not placed.is_unchanged(path.stat())
    assert not identity.is_unchanged(path.stat())
    path.write_bytes(b"longer")
    assert identity.in_place(str(tmp_path)) == identity
