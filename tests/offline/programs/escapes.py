"""Ways out of a view: `escapes.py ROOT OUTSIDE`. Prints `tried WAY`, and `reached WAY: WHAT` if one leads out.

Below ROOT are `secret`, which is not declared, and `data`, an input. OUTSIDE is a directory that views show.
"""

import ctypes
import mmap
import os
import stat
import struct
import sys
import traceback

libc = ctypes.CDLL(None, use_errno=True)
ROOT, OUTSIDE = sys.argv[1:]
NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000  # linux/sched.h
RDONLY, REMOUNT, BIND, MOVE, REC, PRIVATE = 1, 32, 4096, 8192, 16384, 1 << 18  # linux/mount.h
DETACH, AT_FDCWD = 2, -100
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
OPEN_BY_HANDLE = {"x86_64": 304, "aarch64": 265}[os.uname().machine]
OPEN_TREE, MOVE_MOUNT, SETATTR = 428, 429, 442


def call(number, *arguments):
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return libc.syscall(ctypes.c_long(number), *wide)


def mount(source, target, kind, flags, data=None):
    return libc.mount(os.fsencode(source), os.fsencode(target), kind, ctypes.c_ulong(flags), data) == 0


def mounts():
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4] for line in file]


def look(way, top=""):
    """Try everything that a stage must not do to what is below `top`, and say what went through."""
    for path in (f"{top}{ROOT}/secret", f"{top}/secret"):
        if os.path.lexists(path):
            print(f"reached {way}: {path}")
    names = (f"{top}{ROOT}/data", f"{top}{OUTSIDE}/file")
    for path in names:
        for tried, act in [
            ("write", lambda path: os.close(os.open(path, os.O_WRONLY))),
            ("truncate", lambda path: os.truncate(path, 0)),
            ("chmod", lambda path: os.chmod(path, 0o777)),
            ("utime", os.utime),
            ("setxattr", lambda path: os.setxattr(path, "user.x", b"x")),
            ("unlink", os.unlink),
            ("rename", lambda path: os.rename(path, f"{path}.moved")),
            ("link", lambda path: os.link(path, f"{ROOT}/linked")),
        ]:
            try:
                act(path)
            except OSError:
                continue
            print(f"reached {way}: {tried} {path}")
    try:
        os.close(os.open(f"{top}{OUTSIDE}/new", os.O_CREAT | os.O_WRONLY))
        print(f"reached {way}: {top}{OUTSIDE}/new")
    except OSError:
        pass


def nested(extra=0):
    """Become root of a user and mount namespace of one's own."""
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(NEWUSER | NEWNS | extra):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def climb():
    """Leave a chroot, if only one's own root is in the way."""
    os.makedirs(f"{ROOT}/jail", exist_ok=True)
    os.chdir("/")
    os.chroot(f"{ROOT}/jail")
    for _ in range(30):
        os.chdir("..")
    os.chroot(".")


# ---- ways ----


def as_it_is():
    look("as it is")
    os.chdir(ROOT)
    look("dots", "../" * 30)
    for name in os.listdir(ROOT):
        if "partial" in name:
            print(f"reached as it is: {name}")


def everywhere():
    """Only own directories can be written to."""
    own = (ROOT, "/tmp", "/var/tmp", "/dev/shm", "/proc", os.path.realpath(os.environ["HOME"]))
    tops = {"/", *mounts(), *(f"/{name}" for name in os.listdir("/")), *(f"/var/{name}" for name in os.listdir("/var"))}
    for top in sorted(tops):
        if not any(top == each or top.startswith(f"{each}/") for each in own) and os.path.isdir(top):
            try:
                os.close(os.open(f"{top}/escapes-probe", os.O_CREAT | os.O_WRONLY))
                os.unlink(f"{top}/escapes-probe")
                print(f"reached everywhere: {top}")
            except OSError:
                pass


def chroot():
    climb()
    look("chroot")
    look("chroot from its root", "/proc/self/root")


def nested_chroot():
    nested()
    climb()
    look("nested chroot")


def processes():
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        for name in ("root", "cwd"):
            look(f"{name} of {pid}", f"/proc/{pid}/{name}")
            look(f"above {name} of {pid}", f"/proc/{pid}/{name}/" + "../" * 20)
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
            for number in numbers:
                look(f"descriptor {number} of {pid}", f"/proc/{pid}/fd/{number}")
                look(f"above descriptor {number} of {pid}", f"/proc/{pid}/fd/{number}/" + "../" * 20)
        except OSError:
            continue
        if int(pid) not in (os.getpid(), os.getppid()):
            for number in numbers:
                print(f"reached processes: {os.readlink(f'/proc/{pid}/fd/{number}')} of {pid}")


def descriptors():
    for number in range(3, 4096):
        try:
            print(f"reached descriptors: {number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue


def standard_input():
    """Its file is an input."""
    os.close(os.open("/proc/self/fd/0", os.O_WRONLY))
    print("reached standard input: opened for writing")


def uncovered():
    nested()
    mount("none", "/", None, REC | PRIVATE)
    for _ in range(3):
        for path in reversed(mounts()):
            if libc.umount2(os.fsencode(path), DETACH) == 0:
                print(f"reached uncovered: {path}")
    look("uncovered")


def remounted():
    nested()
    attributes = struct.pack("=4Q", 0, RDONLY, 0, 0)
    for path in mounts():
        mount("none", path, None, REMOUNT | BIND)
        call(SETATTR, AT_FDCWD, os.fsencode(path), 0, attributes, len(attributes))
    look("remounted")


def moved():
    nested()
    os.makedirs(f"{ROOT}/moved", exist_ok=True)
    mount("none", "/", None, REC | PRIVATE)
    for path in mounts():
        if mount(path, f"{ROOT}/moved", None, MOVE):
            print(f"reached moved: {path}")
    look("moved")


def bound():
    """A bind without what is mounted below would show what is covered."""
    nested()
    for number, path in enumerate(("/", "/home", os.path.dirname(ROOT), ROOT, OUTSIDE, f"{ROOT}/data")):
        target = f"/tmp/bound-{number}"
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        for flags in (BIND, BIND | REC):
            if mount(path, target, None, flags):
                mount("none", target, None, REMOUNT | BIND)
                look(f"bound {path} {flags}", target)
                if target.endswith("-5"):
                    os.close(os.open(target, os.O_WRONLY))
                    print("reached bound: the input")


def trees():
    nested()
    os.makedirs("/tmp/tree", exist_ok=True)
    for path in ("/", os.path.dirname(ROOT), ROOT):
        tree = call(OPEN_TREE, AT_FDCWD, os.fsencode(path), 1)  # OPEN_TREE_CLONE
        if tree >= 0:
            look(f"tree of {path}", f"/proc/self/fd/{tree}")
            call(MOVE_MOUNT, tree, b"", AT_FDCWD, b"/tmp/tree", 4)  # MOVE_MOUNT_F_EMPTY_PATH
            look(f"moved tree of {path}", "/tmp/tree")


def pivoted():
    nested()
    os.makedirs("/tmp/new/old", exist_ok=True)
    mount("none", "/", None, REC | PRIVATE)
    mount("/tmp/new", "/tmp/new", None, BIND)
    os.chdir("/tmp/new")
    if call(PIVOT_ROOT, b".", b".") == 0 and libc.umount2(b".", DETACH) == 0:
        os.chdir("/")
        libc.umount2(b"/", DETACH)
        for _ in range(30):
            os.chdir("..")
        os.chroot(".")
        look("pivoted")


def overlaid():
    nested()
    os.makedirs("/tmp/overlaid", exist_ok=True)
    for lower in ("/", os.path.dirname(ROOT), ROOT):
        data = f"lowerdir={lower}:/tmp,userxattr".encode()
        if mount("overlay", "/tmp/overlaid", b"overlay", 0, data):
            look(f"overlaid {lower}", "/tmp/overlaid")


def disks():
    """A device of one's own, and the file system on it."""
    device = os.stat(OUTSIDE).st_dev
    for is_nested in (False, True):
        if is_nested:
            nested()
        for kind in (stat.S_IFBLK, stat.S_IFCHR):
            path = f"{ROOT}/device-{kind}-{is_nested}"
            try:
                os.mknod(path, kind | 0o600, device if kind == stat.S_IFBLK else os.makedev(1, 1))
                os.close(os.open(path, os.O_RDONLY))
                print(f"reached disks: {path}")
            except OSError:
                pass
        os.makedirs("/tmp/disk", exist_ok=True)
        if any(mount(path, "/tmp/disk", b"ext4", RDONLY) for path in ("/dev/vda", "/dev/sda1", "/dev/root")):
            print("reached disks: mounted")


def by_number():
    """Inode 2 of ext4, and of other file systems, is the top directory (open_by_handle_at)."""
    for is_nested in (False, True):
        if is_nested:
            nested()
        for start in (ROOT, "/tmp", "/var/tmp", OUTSIDE, "/"):
            base = os.open(start, os.O_RDONLY | os.O_DIRECTORY)
            top = call(OPEN_BY_HANDLE, base, struct.pack("=IiII", 8, 1, 2, 0), os.O_RDONLY)
            if top >= 0:
                print(f"reached by number: {start}")
                look(f"by number from {start}", f"/proc/self/fd/{top}")


def memory():
    """Neither one's own memory nor that of others is a way to a file."""
    with open(f"{ROOT}/data", "rb") as file, mmap.mmap(file.fileno(), 4, mmap.MAP_SHARED, mmap.PROT_READ):
        with open("/proc/self/maps") as maps:
            at = next(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(f"{ROOT}/data"))
        try:
            with open("/proc/self/mem", "r+b", buffering=0) as own:
                own.seek(at)
                own.write(b"lost")
            print("reached memory: a shared map")
        except OSError:
            pass
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if int(pid) not in (os.getpid(), os.getppid()):
            try:
                os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
                print(f"reached memory: of {pid}")
            except OSError:
                continue


def namespaces():
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        for kind in ("mnt", "user"):
            try:
                other = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
            except OSError:
                continue
            if libc.setns(other, 0) == 0:
                print(f"reached namespaces: {kind} of {pid}")


def capabilities():
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    print("capabilities", *(status[f"Cap{name}"].strip() for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")))
    if int(status["CapBnd"], 16) >> 21 & 1:
        print("reached capabilities: CAP_SYS_ADMIN may be had")


WAYS = (
    as_it_is, everywhere, chroot, nested_chroot, processes, descriptors, standard_input, uncovered, remounted, moved,
    bound, trees, pivoted, overlaid, disks, by_number, memory, namespaces, capabilities,
)  # fmt: skip


def main():
    for way in WAYS:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                way()
            except OSError as error:
                print(f"refused {way.__name__}: {error}")
            except Exception:  # noqa: BLE001 - the test shows it
                print(f"broken {way.__name__}: {traceback.format_exc()}")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        print(f"tried {way.__name__}")


main()
