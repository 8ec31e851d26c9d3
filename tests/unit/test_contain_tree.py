"""Processes are found below a main process whichever way the kernel tells."""

import os
import subprocess

import pytest

from runner.contain.tree import ProcessTree, SessionTree, _members, _snapshot, open_tree


@pytest.fixture
def family():
    """A shell in its own session with one child."""
    shell = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield shell.pid, int(shell.stdout.readline())
    os.killpg(shell.pid, 9)
    shell.wait()
    shell.stdout.close()


def test_plain_is_what_every_system_has():
    assert isinstance(open_tree(plain=True), SessionTree)


def test_snapshot_tells_parent_group_and_session():
    assert _snapshot()[os.getpid()] == (os.getppid(), os.getpgrp(), os.getsid(0))


def test_snapshot_understands_names_with_brackets_and_spaces(tmp_path):
    program = tmp_path / "a) R 1 (b"
    program.write_text("#!/bin/sh\nread x\n")
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as child:
        assert _snapshot()[child.pid][0] == os.getpid()
        child.communicate(b"\n")


def test_members_are_the_roots_and_all_below_them(family):
    shell, child = family
    assert _members({shell}) == {shell: (shell, shell), child: (shell, shell)}
    assert _members({child}) == {child: (shell, shell)}
    assert _members({0x7FFFFFFF}) == {}


def test_children_are_found_without_the_kernels_list_of_them(family):
    tree = ProcessTree(lambda _option, _value: 0)
    tree._children = "/proc/self/no-such-list"
    found = tree._child_numbers()
    assert family[0] in found and family[1] not in found


def test_nothing_is_looked_at_when_wait_says_that_there_is_no_child(monkeypatch):
    tree = ProcessTree(lambda _option, _value: 0)
    monkeypatch.setattr(tree, "_child_numbers", lambda: pytest.fail("it looked"))
    assert tree.kill_left((), (1,), childless=True) == {}
