"""`offpipe_offline`: this process and its threads reach no network, and swallowed attempts are reported."""

from __future__ import annotations

import pytest
from spec_project import LEFT_OUT

EVERY_WAY = """
    import _socket, asyncio, errno, socket, threading
    from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, getaddrinfo as early_lookup, socket as early_class
    import pytest
    from pytest_offpipe import LookupRefusedError, NetworkRefusedError

    early = early_class(AF_INET, SOCK_STREAM)
    datagrams = early_class(AF_INET, SOCK_DGRAM)
    AWAY = ("192.0.2.1", 9)

    WAYS = {
        "socket": lambda: socket.socket(AF_INET),
        "class bound before": lambda: early_class(AF_INET6),
        "_socket": lambda: _socket.socket(AF_INET, SOCK_STREAM),
        "connect": lambda: early.connect(AWAY),
        "connect_ex": lambda: early.connect_ex(AWAY),
        "bind": lambda: early.bind(("127.0.0.1", 0)),
        "sendto": lambda: datagrams.sendto(b"x", AWAY),
        "sendmsg": lambda: datagrams.sendmsg([b"x"], [], 0, AWAY),
        "asyncio": lambda: asyncio.run(asyncio.open_connection("192.0.2.1", 9)),
    }
    LOOKUPS = {
        "create_connection": lambda: socket.create_connection(AWAY, 1),
        "getaddrinfo": lambda: socket.getaddrinfo("name.invalid", 80),
        "lookup bound before": lambda: early_lookup("name.invalid", 80),
        "gethostbyname": lambda: socket.gethostbyname("name.invalid"),
        "gethostbyname_ex": lambda: socket.gethostbyname_ex("name.invalid"),
        "gethostbyaddr": lambda: socket.gethostbyaddr("192.0.2.1"),
    }

    @pytest.mark.parametrize("way", WAYS)
    def test_way(offpipe_offline, way):
        with offpipe_offline.expect() as found, pytest.raises(OSError) as refused:
            WAYS[way]()
        assert refused.value.errno == errno.ENETUNREACH and isinstance(refused.value, NetworkRefusedError)
        assert "test_every_way.py:" in found[0].where

    @pytest.mark.parametrize("way", LOOKUPS)
    def test_lookup(offpipe_offline, way):
        with offpipe_offline.expect(), pytest.raises(socket.gaierror) as refused:
            LOOKUPS[way]()
        assert refused.value.errno == socket.EAI_AGAIN and isinstance(refused.value, LookupRefusedError)

    def test_attempts_name_call_target_and_place(offpipe_offline):
        for _ in range(3):
            with pytest.raises(OSError, match="offpipe_offline refused connect 192.0.2.1:9"):
                early.connect(AWAY)
        [found] = offpipe_offline.attempts
        assert (found.call, found.target, found.calls) == ("connect", "192.0.2.1:9", 3)
        assert str(found).endswith("connect 192.0.2.1:9, 3 times")

    def test_threads_are_included(offpipe_offline):
        def ask():
            try:
                early.connect(AWAY)
            except OSError:
                pass
        thread = threading.Thread(target=ask, name="sneaky")
        thread.start()
        thread.join()
        [found] = offpipe_offline.attempts
        assert "(thread sneaky)" in found.where

    def test_what_is_local_works(offpipe_offline):
        one, other = socket.socketpair()
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        again = socket.socket(fileno=one.detach())
        again.close(), other.close()

        async def both():
            return await asyncio.gather(asyncio.sleep(0, 1), asyncio.to_thread(lambda: 2))

        assert asyncio.run(both()) == [1, 2]
        assert offpipe_offline.attempts == []

    def test_errors_survive_pickling(offpipe_offline):
        import pickle
        with offpipe_offline.expect(), pytest.raises(OSError) as refused:
            socket.gethostbyname("name.invalid")
        again = pickle.loads(pickle.dumps(refused.value))
        assert type(again) is type(refused.value) and again.args == refused.value.args
"""


def test_every_way_to_a_network_is_refused_and_recorded(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_every_way=EVERY_WAY)
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT)
    result.assert_outcomes(passed=19)


LEAKS = """
    import socket
    import pytest

    early = socket.socket(socket.AF_INET)

    def ask():
        try:
            early.connect(("192.0.2.1", 9))
        except OSError:
            pass

    def test_swallowed(offpipe_offline):
        ask()

    def test_swallowed_look_up(offpipe_offline):
        socket.getfqdn("name.invalid")

    def test_looked_at(offpipe_offline):
        ask()
        assert offpipe_offline.attempts

    def test_looked_at_before_another(offpipe_offline):
        assert not offpipe_offline.attempts
        ask()

    def test_expected(offpipe_offline):
        with offpipe_offline.expect() as found:
            ask()
        assert found[0].calls == 1

    def test_nothing_came(offpipe_offline):
        with offpipe_offline.expect():
            pass

    def test_fails_anyway(offpipe_offline):
        ask()
        with offpipe_offline.expect():
            assert 1 == 2

    def test_without(request):
        # The hook of the tests before is there, and does nothing: the kernel answers.
        with socket.socket(socket.AF_INET) as own:
            own.bind(("127.0.0.1", 0))
"""


@pytest.mark.parametrize(
    "how", [pytest.param((), id="alone"), pytest.param(("-n2",), id="xdist", marks=pytest.mark.full)]
)
def test_an_attempt_that_its_test_does_not_look_at_fails_it(pytester: pytest.Pytester, monkeypatch, how) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makepyfile(test_leaks=LEAKS)
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT, *how)
    result.assert_outcomes(passed=6, failed=2, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "ERROR test_leaks.py::test_swallowed - Failed: unexpected attempts to reach a network:*",
            "ERROR test_leaks.py::test_swallowed_look_up -*",
            "ERROR test_leaks.py::test_looked_at_before_another -*",
            "FAILED test_leaks.py::test_nothing_came - Failed: an attempt to reach a network was expected, and*none",
            "FAILED test_leaks.py::test_fails_anyway - assert 1 == 2",
            "unexpected attempts to reach a network:",
            "  test_leaks.py:8: connect 192.0.2.1:9",
            "  test_leaks.py:*: gethostbyaddr name.invalid",
            "hint: if it is on purpose, write `with offpipe_offline.expect():`*",
        ]
    )


UNUSED = """
    import sys

    def test_nothing_is_live(request):
        config = request.config
        assert not [name for name in sys.modules if name.startswith("pytest_offpipe.") and name[15:] != "plugin"]
        names = [name for name, plugin in config.pluginmanager.list_name_plugin() if "offpipe" in name]
        assert names == ["offpipe"]
        sys.audit("socket.connect", None, None)  # a hook that looks at anything would choke on that

    def test_two(request): ...
"""

USED_AND_GONE = """
    import sys

    def test_one(offpipe_offline, offpipe_clock, offpipe_state_dir): ...

    def test_two(request):
        plugins = [plugin for plugin in request.config.pluginmanager.get_plugins() if "offpipe" in str(type(plugin))]
        assert [type(one).__name__ for one in plugins] == ["Markers"]  # who looks at tests from now on
        sys.audit("socket.connect", None, None)
"""


def test_nothing_is_live_when_unused_and_after_use(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_unused=UNUSED, test_used=USED_AND_GONE)
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT, "test_unused.py", "test_used.py")
    result.assert_outcomes(passed=4)
