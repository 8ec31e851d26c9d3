"""Ways out that a Python program has: `attack.py WAY TOKEN WHERE...`.

Prints `trying`, then `reached WHAT` if a call went through that must not, or `refused ERRNO`. The listeners notice a
token that got out. Module names are computed, because the scan of the text is another guard and must not find them.
"""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import threading
import time

NAMES = {"socket": "736f636b6574", "_socket": "5f736f636b6574", "http": "687474702e636c69656e74"}
NAMES |= {"urllib": "75726c6c69622e72657175657374"}


def module(name):
    return __import__(bytes.fromhex(NAMES[name]).decode(), fromlist=["x"])


s = module("socket")
MPTCP, UDPLITE, ETHERTYPE = 262, 136, 0x88B5


def tcp(token, host, port):
    s.create_connection((host, int(port)), 5).sendall(token)


def tcp_again(token, host, port):
    attempt(tcp, token, host, port)
    tcp(token, host, port)


def tcp_connect_ex(token, host, port):
    sock = s.socket()
    if number := sock.connect_ex((host, int(port))):
        raise OSError(number, "connect_ex")
    sock.sendall(token)


def tcp_threaded(token, host, port):
    thread = threading.Thread(target=attempt, args=(tcp, token, host, port))
    thread.start()
    thread.join()


def tcp_forked(token, host, port):
    if os.fork() == 0:
        attempt(tcp, token, host, port)
        os._exit(0)
    os.wait()


def tcp_daemon(token, host, port):
    """A grandchild in a session of its own, which the program waits for."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            attempt(tcp, token, host, port)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)


def tcp_daemon_later(token, host, port):
    """A grandchild in a session of its own, which tries when the program and its parent are long gone."""
    parent = os.getppid()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            while os.path.exists(f"/proc/{parent}"):
                time.sleep(0.01)
            time.sleep(0.2)
            tcp(token, host, port)
        os._exit(0)
    os.wait()


def tcp_fastopen(token, port):
    s.socket().sendto(token, s.MSG_FASTOPEN, ("127.0.0.1", int(port)))


def tcp_mptcp(token, port):
    sock = s.socket(s.AF_INET, s.SOCK_STREAM, MPTCP)
    sock.connect(("127.0.0.1", int(port)))
    sock.sendall(token)


def tcp_asyncio(token, port):
    import asyncio

    async def go():
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(token)
        await writer.drain()

    asyncio.run(go())


def http(token, port):
    module("http").HTTPConnection("127.0.0.1", int(port), timeout=2).request("GET", "/" + token.decode())


def urllib(token, port):
    module("urllib").urlopen(f"http://127.0.0.1:{port}/{token.decode()}", timeout=2)


def underscore(token, port):
    sock = module("_socket").socket()
    sock.connect(("127.0.0.1", int(port)))
    sock.send(token)


def ctypes_libc(token, port):
    libc = ctypes.CDLL(None, use_errno=True)
    sock = libc.socket(2, 1, 0)
    where = b"\x02\0" + int(port).to_bytes(2, "big") + b"\x7f\0\0\x01" + bytes(8)
    if sock < 0 or libc.connect(sock, where, 16) < 0:
        raise OSError(ctypes.get_errno(), "socket")
    libc.write(sock, token, len(token))


def udp(token, host, port):
    sock = s.socket(s.AF_INET6 if ":" in host else s.AF_INET, s.SOCK_DGRAM)
    sock.connect((host, int(port)))
    sock.send(token)


def udp_sendto(token, host, port):
    s.socket(s.AF_INET6 if ":" in host else s.AF_INET, s.SOCK_DGRAM).sendto(token, (host, int(port)))


def udp_sendmsg(token, host, port):
    s.socket(s.AF_INET, s.SOCK_DGRAM).sendmsg([token], [], 0, (host, int(port)))


def dns(token, port):
    """A query for TOKEN.invalid, type A, as a resolver writes it."""
    labels = b"".join(len(label).to_bytes(1, "big") + label for label in (token, b"invalid")) + b"\0"
    question = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\1\0\1"
    s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(question, ("127.0.0.1", int(port)))


def resolver(token):
    s.getaddrinfo(token.decode() + ".invalid", 80)


def udplite(token, port):
    s.socket(s.AF_INET, s.SOCK_DGRAM, UDPLITE).sendto(token, ("127.0.0.1", int(port)))


def raw(token, host):
    family, protocol, kind = (10, 58, 128) if ":" in host else (2, 1, 8)
    message = bytearray([kind, 0, 0, 0, 0, 0, 0, 0, *token, *bytes(len(token) % 2)])
    total = sum(int.from_bytes(message[at : at + 2], "big") for at in range(0, len(message), 2))
    message[2:4] = (~(total % 0xFFFF) & 0xFFFF).to_bytes(2, "big")
    s.socket(family, s.SOCK_RAW, protocol).sendto(message, (host, 0))


def packet(token, kind):
    sock = s.socket(s.AF_PACKET, int(kind), s.htons(ETHERTYPE))
    head = bytes(12) + ETHERTYPE.to_bytes(2, "big") if int(kind) == s.SOCK_RAW else b""
    sock.sendto(head + token.ljust(60), ("lo", ETHERTYPE, 0, 0, bytes(6)))


def family(_, number, kind, protocol):
    s.socket(int(number), int(kind), int(protocol))
    print(f"reached socket({number}, {kind}, {protocol})")


def every_family(_):
    for number in range(64):
        for kind in (1, 2, 3, 5):
            try:
                s.socket(number, kind, 0).close()
            except OSError:
                continue
            print(f"reached socket({number}, {kind})", flush=True)


def listen(_, host):
    sock = s.socket(s.AF_INET6 if ":" in host else s.AF_INET)
    sock.bind((host, 0))
    sock.listen()
    print(f"reached {sock.getsockname()}")


def local(token, kind, where):
    sock = s.socket(s.AF_UNIX, int(kind))
    sock.connect(address(where))
    sock.send(token)


def local_sendto(token, where):
    s.socket(s.AF_UNIX, s.SOCK_DGRAM).sendto(token, address(where))


def local_listen(_, where):
    sock = s.socket(s.AF_UNIX)
    sock.bind(address(where))
    sock.listen()
    print("reached listen")


def pair(token, how, kind, where):
    """One end of a pair sends elsewhere, not to its other end."""
    end, _ = s.socketpair(s.AF_UNIX, int(kind))
    if how == "sendto":
        end.sendto(token, address(where))
    elif how == "sendmsg":
        end.sendmsg([token], [], 0, address(where))
    elif how == "rights":
        end.sendmsg([token], [(s.SOL_SOCKET, s.SCM_RIGHTS, (1).to_bytes(4, sys.byteorder))], 0, address(where))
    else:
        end.connect(address(where))
        end.send(token)


def address(where):
    return where if where.startswith("/") else "\0" + where


def descriptors(token):
    """Write to everything that was inherited, and to the sockets that the parent has open."""
    for number in range(3, 256):
        attempt(os.write, number, token)
    for number in range(256):
        path = f"/proc/{os.getppid()}/fd/{number}"
        try:
            if "socket" in os.readlink(path):
                os.write(os.open(path, os.O_WRONLY), token)
        except OSError:
            continue


def standard(token):
    for number in (0, 1, 2):
        if "socket" in os.readlink(f"/proc/self/fd/{number}"):
            os.write(number, token)


def memfd(token, program, port):
    """A program without a name on disk."""
    number = os.memfd_create("nameless")
    with open(program, "rb") as source:
        os.write(number, source.read())
    os.execv(f"/proc/self/fd/{number}", ["nameless", "tcp", token.decode(), port])


def deleted(token, program, port):
    """A program whose file is gone when it tries."""
    copy = f"{os.environ.get('TMPDIR', '/tmp')}/gone-{os.getpid()}"
    shutil.copy(program, copy)
    subprocess.run([copy, "unlinked", token.decode(), port], check=False)


def keep_trying(token, tcp_port, udp_port, local_path, tries, last):
    """Try several ways, again and again, until a file `last` exists; `tries` grows by a byte each time."""
    while not os.path.exists(last):
        attempt(tcp, token, "127.0.0.1", tcp_port)
        attempt(udp_sendto, token, "127.0.0.1", udp_port)
        attempt(local, token, "1", local_path)
        with open(tries, "a") as file:
            file.write(".")
        time.sleep(0.01)


def hold(_, port):
    """Not a way out: hold a connection that others can try to reach, until the end of standard input."""
    sock = s.create_connection(("127.0.0.1", int(port)))
    print(sock.fileno(), flush=True)
    sys.stdin.read()


def attempt(way, *where):
    try:
        return way(*where)
    except OSError as error:
        print("refused", errno.errorcode.get(error.errno, error.errno), flush=True)


if __name__ == "__main__":
    print("trying", flush=True)
    attempt(globals()[sys.argv[1]], sys.argv[2].encode(), *sys.argv[3:])
    if output := os.environ.get("PIPELINE_OUTPUT_OUT"):
        open(output, "w").close()
