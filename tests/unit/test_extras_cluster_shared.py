"""The runner and its workers agree on leases, on the identities of files, and on versions."""

import os
import resource
import subprocess
import sys

import pytest

from runner.errors import StateError
from runner.extras.cluster import shared


def test_only_the_first_takes_a_lease_and_everyone_sees_who_has_it(tmp_path):
    assert not shared.is_leased(str(tmp_path), 7)
    assert shared.take_lease(str(tmp_path), 7, "tcp://host:1 host/one")
    assert not shared.take_lease(str(tmp_path), 7, "tcp://host:2 host/two")
    assert shared.is_leased(str(tmp_path), 7)
    assert shared.lease_holder(str(tmp_path), 7) == ("tcp://host:1", "host/one")


def test_a_launch_that_the_runner_has_given_up_has_no_holder_and_is_never_started(tmp_path):
    assert shared.take_lease(str(tmp_path), 7)
    assert not shared.take_lease(str(tmp_path), 7, "tcp://host:1 host/one")
    assert shared.lease_holder(str(tmp_path), 7) == ("", "")


def test_nothing_starts_for_a_run_that_is_over(tmp_path):
    gone = str(tmp_path / "cluster-0")
    with pytest.raises(StateError, match=f"{gone}/7: cannot open: ENOENT"):
        shared.take_lease(gone, 7, "tcp://host:1 host/one")
    assert not shared.is_leased(gone, 7)
    assert not os.path.exists(gone)


def test_a_lease_that_could_not_be_written_keeps_nobody_out(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))  # the file can be created, and takes no byte
    try:
        with pytest.raises(StateError, match=f"{tmp_path}/7: cannot write: EFBIG"):
            shared.take_lease(str(tmp_path), 7, "tcp://host:1 host/one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not shared.is_leased(str(tmp_path), 7)
    assert shared.take_lease(str(tmp_path), 7, "tcp://host:2 host/two")


@pytest.mark.parametrize("change", ["size", "mtime", "inode", "gone"])
def test_a_file_that_changed_has_another_identity(tmp_path, change):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 10**18))
    before = {str(path): shared.identity(str(path))}
    assert shared.differing(before, ()) == ""
    if change == "size":
        path.write_bytes(b"three")
    elif change == "inode":
        (tmp_path / "new").write_bytes(b"one")
        os.rename(tmp_path / "new", path)
    if change == "gone":
        path.unlink()
    else:
        os.utime(path, ns=(0, 10**18 + (change == "mtime")))
    assert shared.differing(before, ()) == str(path)


def test_a_directory_has_the_identity_of_all_its_files_but_partials(tmp_path):
    (tmp_path / "tree/below").mkdir(parents=True)
    tree = str(tmp_path / "tree")
    empty = shared.identity(tree)
    (tmp_path / "tree/below/.partial-0000aa.x").touch()
    assert shared.identity(tree) == empty
    (tmp_path / "tree/below/x").touch()
    assert shared.identity(tree) != empty


def test_a_link_that_a_stage_made_is_not_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"one")
    link.symlink_to(target)
    followed, itself = shared.identity(str(link)), shared.identity(str(link), follow=False)
    target.write_bytes(b"three")
    assert shared.identity(str(link)) != followed
    assert shared.identity(str(link), follow=False) == itself
    assert shared.differing({str(link): itself}, [str(link)]) == ""


def test_versions_name_everything_that_must_be_the_same():
    lines = shared.versions(["pluggy", "no-such-distribution"])
    assert lines[1] == f"Python {sys.version.split()[0]}" and lines[2].endswith(sys.prefix)
    assert lines[-1] == "no-such-distribution (not installed)"
    code = "from runner.extras.cluster import shared; print(shared.versions([])[3])"
    line = subprocess.run([sys.executable, "-c", code], umask=0o027, capture_output=True, text=True, check=True).stdout
    assert line == "umask 0027\n"
