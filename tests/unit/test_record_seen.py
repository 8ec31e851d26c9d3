from runner.record.seen import Seen


def test_what_was_added_is_known_and_nothing_else():
    seen = Seen()
    texts = [f"run-{number}" for number in range(2000)]
    assert all(seen.add(text) for text in texts)
    assert all(text in seen for text in texts) and "run-2000" not in seen


def test_what_comes_once_more_is_not_added_again():
    seen = Seen()
    assert seen.add("caf\udce9") and not seen.add("caf\udce9")
    assert seen.add("")
