import fcntl
import marshal
import os
import select

import pytest

from runner.sandbox.protocol import START, Wire, message


@pytest.fixture
def pipes():
    requests, asking = os.pipe()
    hearing, replies = os.pipe()
    opened = {"requests": requests, "asking": asking, "hearing": hearing, "replies": replies}
    yield opened
    for descriptor in opened.values():
        os.close(descriptor)


@pytest.fixture
def poll():
    return select.poll()


@pytest.fixture
def wire(pipes, poll):
    return Wire(pipes["requests"], pipes["replies"], poll)


def read_all(descriptor):
    os.set_blocking(descriptor, False)
    content = b""
    try:
        while part := os.read(descriptor, 1 << 16):
            content += part
    except BlockingIOError:
        pass
    return content


def test_a_request_is_received_once_all_its_pieces_have_come(wire, pipes):
    content = message("launch", {"id": 1}) + message("kill", None)
    for at in range(len(content) - 1):
        os.write(pipes["asking"], content[at : at + 1])
        requests = wire.receive()
        assert requests in ([], [("launch", {"id": 1})])
    os.write(pipes["asking"], content[-1:])
    assert wire.receive() == [("kill", None)]
    assert wire.receive() == []


def test_when_the_runner_is_gone_there_will_be_no_more_requests(wire, pipes):
    os.close(pipes["asking"])
    pipes["asking"] = os.open(os.devnull, os.O_RDONLY)
    assert wire.receive() is None


def test_the_first_report_follows_the_start_mark(wire, pipes):
    wire.report("ready", (None, {}))
    sent = read_all(pipes["hearing"])
    assert sent.startswith(START)
    assert marshal.loads(sent[len(START) + 4 :]) == ("ready", (None, {}))


def test_it_waits_for_room_by_poll_and_loses_nothing(wire, pipes, poll):
    room = fcntl.fcntl(pipes["replies"], fcntl.F_SETPIPE_SZ, 4096)
    texts = [str(number) * 1000 for number in range(3 * room // 1000)]
    for text in texts:
        wire.report("crash", text)
    sent = b""
    while True:
        sent += read_all(pipes["hearing"])
        if not dict(poll.poll(0)).get(pipes["replies"]):
            break
        wire.flush()
    assert sent == START + b"".join(message("crash", text) for text in texts)


def test_drops_reports_when_the_runner_is_gone(wire, pipes, poll):
    os.close(pipes["hearing"])
    pipes["hearing"] = os.open(os.devnull, os.O_RDONLY)
    wire.report("exit", (1,))
    assert pipes["replies"] not in dict(poll.poll(0))
