from runner.spec.each.instances import Instance, Outputs


def test_outputs_may_lie_in_a_directory_of_any_instance():
    outputs = Outputs()
    outputs.note(Instance(0, {"name": "a", "outputs": ["made/a.txt", "made/b/c.txt"]}))
    outputs.note(Instance(1, {"name": "b", "outputs": ["x"]}))
    outputs.patterns += ["work/*/x.txt", "tree/*/", "*.log"]
    lie = ["made", "made/b", "work", "work/s1", "tree", "tree/s1", "anywhere"]
    assert [directory for directory in lie if outputs.may_lie_in(directory)] == lie, "a value may hold a slash"
    outputs.patterns.pop()
    assert not any(map(outputs.may_lie_in, ["in", "mad", "x", "wor/k", "anywhere"]))
    assert [*outputs.starting_with("made/b")] == [("made/b/c.txt", 0)]
    outputs.note(Instance(2, {"name": "c", "outputs": ["made/b.txt"]}))
    assert [*outputs.starting_with("made/b")] == [("made/b.txt", 2), ("made/b/c.txt", 0)]
