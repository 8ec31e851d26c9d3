"""Ways out that a Python program has: `attack.py WAY TOKEN WHERE...`.

Says `trying`, then `reached WHAT` when a call went through that must not, or `refused ERRNO`. A token that went out is
for the listeners to notice. Names of modules are computed, because a scan of the text is another guard's business.
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


def tcp_connect_ex(token, host, port):
    made = s.socket()
    if number := made.connect_ex((host, int(port))):
        raise OSError(number, "connect_ex")
    made.sendall(token)


def tcp_threaded(token, host, port):
    thread = threading.Thread(target=told, args=(tcp, token, host, port))
    thread.start()
    thread.join()


def tcp_forked(token, host, port):
    if os.fork() == 0:
        told(tcp, token, host, port)
        os._exit(0)
    os.wait()


def tcp_daemon(token, host, port):
    """A grandchild in a session of its own, which the program waits for."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            told(tcp, token, host, port)
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
    made = s.socket(s.AF_INET, s.SOCK_STREAM, MPTCP)
    made.connect(("127.0.0.1", int(port)))
    made.sendall(token)


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
    made = module("_socket").socket()
    made.connect(("127.0.0.1", int(port)))
    made.send(token)


def ctypes_libc(token, port):
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.socket(2, 1, 0)
    where = b"\x02\0" + int(port).to_bytes(2, "big") + b"\x7f\0\0\x01" + bytes(8)
    if made < 0 or libc.connect(made, where, 16) < 0:
        raise OSError(ctypes.get_errno(), "socket")
    libc.write(made, token, len(token))


def udp(token, host, port):
    made = s.socket(s.AF_INET6 if ":" in host else s.AF_INET, s.SOCK_DGRAM)
    made.connect((host, int(port)))
    made.send(token)


def udp_sendto(token, host, port):
    s.socket(s.AF_INET6 if ":" in host else s.AF_INET, s.SOCK_DGRAM).sendto(token, (host, int(port)))


def udp_sendmsg(token, host, port):
    s.socket(s.AF_INET, s.SOCK_DGRAM).sendmsg([token], [], 0, (host, int(port)))


def dns(token, port):
    """A question for TOKEN.invalid, type A, as a resolver writes it."""
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
    made = s.socket(s.AF_PACKET, int(kind), s.htons(ETHERTYPE))
    head = bytes(12) + ETHERTYPE.to_bytes(2, "big") if int(kind) == s.SOCK_RAW else b""
    made.sendto(head + token.ljust(60), ("lo", ETHERTYPE, 0, 0, bytes(6)))


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
    made = s.socket(s.AF_INET6 if ":" in host else s.AF_INET)
    made.bind((host, 0))
    made.listen()
    print(f"reached {made.getsockname()}")


def local(token, kind, where):
    made = s.socket(s.AF_UNIX, int(kind))
    made.connect(address(where))
    made.send(token)


def local_sendto(token, where):
    s.socket(s.AF_UNIX, s.SOCK_DGRAM).sendto(token, address(where))


def local_listen(_, where):
    made = s.socket(s.AF_UNIX)
    made.bind(address(where))
    made.listen()
    print("reached listen")


def pair(token, how, kind, where):
    """One end of a pair sends, not to its other end but elsewhere."""
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
        told(os.write, number, token)
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
    """By every way, again and again until there is a file `last`; `tries` grows by a byte each time."""
    while not os.path.exists(last):
        told(tcp, token, "127.0.0.1", tcp_port)
        told(udp_sendto, token, "127.0.0.1", udp_port)
        told(local, token, "1", local_path)
        with open(tries, "a") as file:
            file.write(".")
        time.sleep(0.01)


def hold(_, port):
    """No way out: a program with a connection, for others to get at. Ends with its standard input."""
    made = s.create_connection(("127.0.0.1", int(port)))
    print(made.fileno(), flush=True)
    sys.stdin.read()


def told(way, *where):
    try:
        return way(*where)
    except OSError as error:
        print("refused", errno.errorcode.get(error.errno, error.errno), flush=True)


if __name__ == "__main__":
    print("trying", flush=True)
    told(globals()[sys.argv[1]], sys.argv[2].encode(), *sys.argv[3:])
    if output := os.environ.get("PIPELINE_OUTPUT_OUT"):
        open(output, "w").close()
