from __future__ import annotations

import errno

from runner.display.offline import doctor_json, doctor_lines, offline_text
from runner.levels import RefusedError
from runner.results import FAILED, AttemptResult, NetworkCalls, RunResult, StageResult

KERNEL = {"level": "kernel", "netNamespace": "net:[1]", "seccomp": "filter", "attempts": "named"}


def run_result(level: str, *networks: tuple[tuple[str, str, int], ...], probe: bool = False) -> RunResult:
    stages = {}
    for number, network in enumerate(networks):
        calls = tuple(NetworkCalls(*fields, probe) for fields in network)
        attempt = AttemptResult(1, 0, None, False, 0.1, 0.1, 1, 0.0, None, network=calls)
        stages[f"s{number}"] = StageResult(f"s{number}", FAILED, attempts=[attempt])
    return RunResult("p", "r", FAILED, 4, stages, "head", 1.0, {"level": level})


def test_the_summary_names_the_level_and_every_program() -> None:
    assert offline_text(run_result("kernel", ())) == "offline guard: kernel\n"
    text = offline_text(run_result("filter", (("curl", "AF_INET", 1), ("perl", "AF_INET6", 2000))))
    assert text == "offline guard: filter, a network was refused to s0: curl (AF_INET), perl (AF_INET6, 2,000 times)\n"


def test_a_run_that_started_nothing_says_nothing() -> None:
    assert offline_text(run_result("none")) == ""


def test_sockets_that_a_jvm_opens_at_its_start_are_not_reported() -> None:
    assert offline_text(run_result("kernel", (("java", "AF_INET", 2),), probe=True)) == "offline guard: kernel\n"


def test_many_stages_are_counted() -> None:
    text = offline_text(run_result("kernel", *[(("curl", "AF_INET", 1),)] * 12))
    assert text.endswith("; s9: curl (AF_INET) and 2 more\n")


def test_a_program_cannot_write_on_the_terminal_by_its_name() -> None:
    assert "\x1b" not in offline_text(run_result("kernel", (("\x1b[2J", "AF_INET", 1),)))


def test_doctor_shows_each_level_with_its_layers_or_the_missing_one() -> None:
    missing = RefusedError("unshare(user)", errno.EPERM)
    shown = "".join(doctor_lines({"kernel": missing, "filter": {**KERNEL, "level": "filter"}}))
    assert shown.startswith("offline guard: runs on this machine reach level filter\n")
    assert "kernel: not available\n  unshare(user) failed: EPERM" in shown and "max_user_namespaces" in shown
    assert "filter: available\n" in shown and "programs that ask for a network: named" in shown
    assert "sealed stages need this level" in shown
    nothing = "".join(doctor_lines({"kernel": missing, "filter": missing}))
    assert "level scan" in nothing and "--offline best-effort" in nothing


def test_doctor_says_whether_there_are_views_and_what_they_need_if_not() -> None:
    shown = "".join(doctor_lines({"kernel": {**KERNEL, "views": "possible"}}))
    assert "  views              of sealed stages: possible\n" in shown and "max_mnt_namespaces" not in shown
    shown = "".join(doctor_lines({"kernel": {**KERNEL, "views": "none: unshare failed"}}))
    assert "  views              of sealed stages: none: unshare failed\n" in shown and "max_mnt_namespaces" in shown


def test_doctor_as_json_has_each_level_with_its_layers_or_the_missing_one() -> None:
    missing = RefusedError("unshare(user)", errno.EPERM)
    report = doctor_json({"kernel": missing, "filter": {**KERNEL, "level": "filter"}})
    assert report["level"] == "filter"
    assert report["levels"]["kernel"] == {"available": False, "layers": {}, "missing": str(missing)}
    assert report["levels"]["filter"]["layers"]["seccomp"] == "filter"
