"""Things that Python batch jobs do and that must work in a stage: `harmless_python.py WAY`, in its own directory.

Each way prints what must be the same with and without the guard, so no process ids and no times.
"""

from __future__ import annotations

import ctypes
import fcntl
import getpass
import grp
import logging.handlers
import mmap
import os
import pathlib
import platform
import pwd
import queue
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile
import uuid


def logs():
    records: queue.Queue[logging.LogRecord] = queue.Queue()
    log = logging.getLogger("harmless")
    log.setLevel(logging.INFO)
    log.addHandler(logging.FileHandler("plain.log"))
    log.addHandler(logging.handlers.RotatingFileHandler("turning.log", maxBytes=200, backupCount=2))
    log.addHandler(logging.handlers.WatchedFileHandler("watched.log"))
    log.addHandler(logging.handlers.QueueHandler(records))
    log.addHandler(logging.StreamHandler(sys.stdout))
    listener = logging.handlers.QueueListener(records, logging.FileHandler("queued.log"))
    listener.start()
    for number in range(20):
        log.info("message %d", number)
    listener.stop()
    print({name: pathlib.Path(name).read_text() for name in sorted(os.listdir(".")) if ".log" in name})


def names():
    for lookup in (
        lambda: pwd.getpwuid(os.getuid()), lambda: grp.getgrgid(os.getgid()), lambda: pwd.getpwnam("root").pw_uid,
        lambda: pwd.getpwnam("nobody-at-all"), lambda: len(pwd.getpwall()), getpass.getuser,
        lambda: os.path.expanduser("~root"), lambda: os.path.expanduser("~") == os.environ["HOME"],
        os.getlogin, os.getgroups,
        lambda: os.getresuid() + os.getresgid(), platform.node, platform.platform, os.cpu_count,
        lambda: sorted(os.sched_getaffinity(0)), lambda: uuid.uuid4().version,
    ):  # fmt: skip
        try:
            print(lookup())
        except (KeyError, OSError) as error:
            print(type(error).__name__)


def subprocesses():
    first = subprocess.Popen(["seq", "1000"], stdout=subprocess.PIPE)
    second = subprocess.Popen(["grep", "7"], stdin=first.stdout, stdout=subprocess.PIPE)
    first.stdout.close()
    print(subprocess.run(["wc", "-l"], stdin=second.stdout, capture_output=True, check=True).stdout, second.wait())
    print(first.wait(), subprocess.run("exit 3", shell=True, check=False).returncode)
    try:
        subprocess.run(["sleep", "60"], timeout=0.05, check=True)
    except subprocess.TimeoutExpired as error:
        print(error.cmd)
    print(subprocess.run(["sh", "-c", "kill -TERM $$"], check=False, start_new_session=True).returncode)


def temporary_files():
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as named:
        named.write(b"x" * 100)
        named.flush()
        print(os.path.getsize(named.name), oct(os.stat(folder).st_mode), folder.startswith(os.environ["TMPDIR"]))
    with tempfile.TemporaryFile() as nameless, tempfile.SpooledTemporaryFile(10) as spooled:
        spooled.write(b"y" * 100)
        nameless.write(b"z")
        print(os.path.exists(folder), os.fstat(nameless.fileno()).st_nlink)


def mapped_files():
    pathlib.Path("mapped").write_bytes(bytes(8192))
    with open("mapped", "r+b") as file, mmap.mmap(file.fileno(), 0) as view, mmap.mmap(-1, 4096) as nameless:
        if (child := os.fork()) == 0:
            view[:6], nameless[:3] = b"mapped", b"mem"
            view.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print(view[:6], nameless[:3], pathlib.Path("mapped").read_bytes()[:6])


def locks():
    with open("lock", "w") as file:
        for lock in (fcntl.flock, fcntl.lockf):
            lock(file, fcntl.LOCK_EX)
            taken = f"import fcntl; fcntl.{lock.__name__}(open('lock', 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            print(subprocess.run([sys.executable, "-c", taken], stderr=subprocess.PIPE, check=False).returncode)
            lock(file, fcntl.LOCK_UN)
            print(subprocess.run([sys.executable, "-c", taken], check=False).returncode)


def fifo():
    os.mkfifo("fifo")
    with subprocess.Popen(["sh", "-c", "seq 100 > fifo"]) as writer:
        print(len(pathlib.Path("fifo").read_text().split()))
    print(writer.returncode)


def watching():
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_NONBLOCK)
    print(inotify >= 0, libc.inotify_add_watch(inotify, b".", 0x100) >= 0)  # IN_CREATE
    pathlib.Path("made").touch()
    print(select.select([inotify], [], [], 10)[0] == [inotify], struct.unpack_from("=iIII4s", os.read(inotify, 4096)))


def database():
    with sqlite3.connect("wal.db") as first:
        print(first.execute("pragma journal_mode=wal").fetchone())
        first.execute("create table t (n integer)")
        first.executemany("insert into t values (?)", ((number,) for number in range(1000)))
    read = "import sqlite3; c = sqlite3.connect('wal.db'); print(c.execute('select sum(n) from t').fetchone())"
    print(subprocess.run([sys.executable, "-c", read], capture_output=True, check=True).stdout)
    with sqlite3.connect("wal.db") as second:
        second.execute("delete from t where n % 2")
    print(first.execute("select count(*) from t").fetchone(), sorted(os.listdir(".")))
    first.close()
    second.close()


def kernel_objects():
    """Descriptors that are not sockets."""
    left, right = os.memfd_create("m"), os.open("copy", os.O_RDWR | os.O_CREAT)
    os.write(left, b"0123456789")
    print(os.sendfile(right, left, 0, 5), os.copy_file_range(right, right, 5, 0, 5), os.pread(right, 20, 0))
    event, polled = os.eventfd(3), select.epoll()
    polled.register(event, select.EPOLLIN)
    print(polled.poll(1)[0][1], os.eventfd_read(event))
    if (child := os.fork()) == 0:
        signal.pause()
    pidfd = os.pidfd_open(child)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    print(select.select([pidfd], [], [], 10)[0] == [pidfd], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    mine, theirs = os.openpty()
    os.write(theirs, b"typed\n")
    print(os.read(mine, 100), os.isatty(theirs), os.get_terminal_size(theirs))
    try:
        os.setxattr("copy", "user.word", b"kept")
        print(os.getxattr("copy", "user.word"))
    except OSError as error:
        print(error)


def signals():
    received = []
    signal.signal(signal.SIGALRM, lambda *_: received.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.kill(parent, signal.SIGUSR2)
        signal.pause()
    print(received, signal.sigwait([signal.SIGUSR2]))
    os.kill(child, signal.SIGSTOP)
    print(os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]))
    os.killpg(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def trees():
    for number in range(30):
        pathlib.Path(f"tree/{number % 3}").mkdir(parents=True, exist_ok=True)
        pathlib.Path(f"tree/{number % 3}/{number}").write_text(f"{number}\n" * number)
    shutil.copytree("tree", "copied")
    elsewhere = tempfile.mkdtemp()
    shutil.move("copied", elsewhere)
    archive = shutil.make_archive("packed", "gztar", elsewhere, "copied")
    with tarfile.open(archive) as packed:
        print(sorted((member.name, member.size, oct(member.mode)) for member in packed))
    shutil.rmtree("tree")
    print(subprocess.run([sys.executable, "-m", "compileall", "-q", "."], check=False).returncode)


HARMLESS = (
    logs, names, subprocesses, temporary_files, mapped_files, locks, fifo, watching, database, kernel_objects, signals,
    trees,
)  # fmt: skip

if __name__ == "__main__":
    {way.__name__: way for way in HARMLESS}[sys.argv[1]]()
