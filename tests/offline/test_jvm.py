"""A JVM opens sockets as it starts, so what it asks for is refused and recorded, and fails no stage."""

from __future__ import annotations

import shutil

import pytest
from harmless_lives import lives

ASKS = """
import java.net.Socket;
import java.nio.file.*;

class Asks {
    public static void main(String[] args) throws Exception {
        for (int i = 0; i < 5; i++) {
            try {
                new Socket("192.0.2.1", 9);
                System.exit(1);
            } catch (java.io.IOException refused) {
                System.out.println("refused");
            }
        }
        Files.writeString(Path.of(System.getenv("PIPELINE_OUTPUT_OUT")), "made");
    }
}
"""


@pytest.mark.full  # test_attacks.py has an attack by a JVM
@pytest.mark.skipif(not shutil.which("javac"), reason="there is no JVM with a compiler here")
@pytest.mark.parametrize("level", ["kernel", "filter"])
def test_a_jvm_that_asks_for_the_internet_is_refused_and_recorded_and_its_stage_succeeds(level):
    with lives(level, "unprivileged") as bench:
        bench.write("Asks.java", ASKS)
        bench.define({"name": "asks", "command": ["java", "Asks.java"], "stdout": "log",
                      "outputs": {"out": "made.txt", "log": "log.txt"}})  # fmt: skip
        bench.succeed()
        assert bench.read("made.txt") == b"made"
        assert bench.read("log.txt").split() == [b"refused"] * 5
        seen = [record["data"] for record in bench.records("offline.attempt")]
        assert {each["program"] for each in seen} == {"java"} and {each["action"] for each in seen} == {"record"}
        assert {each["family"] for each in seen} <= {"AF_INET", "AF_INET6"} and sum(each["count"] for each in seen) >= 5
