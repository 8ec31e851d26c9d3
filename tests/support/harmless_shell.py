"""A table of things that shell batch jobs do and that must work in a stage.

Each script runs in its own empty directory under `sh -eu`. It must print the same with and without the guard.
"""

from __future__ import annotations

from typing import NamedTuple


class Job(NamedTuple):
    name: str
    script: str
    needs: tuple[str, ...] = ()
    root: bool = False  # makes files of other users, which only root can
    record: str = ""  # the program that asks for a socket it does not need; that is only recorded


LINES = """awk 'BEGIN { for (n = 0; n < 60000; n++) print (n * 7919) % 60013, "line", n }' > lines"""
TREE = """
mkdir -p tree/deep; echo 1 > tree/one; echo 2 > tree/deep/two; chmod 640 tree/one; chmod 1750 tree/deep
ln tree/one tree/hard; ln -s ../one tree/deep/soft; mkfifo tree/pipe; find tree -exec touch -hd 2001-02-03 {} +
listed() { find "$1" -printf '%P %y %#m %n %U:%G %l %TY-%Tm-%Td\\n' | sort | grep -v '^ d'; }
"""
OWNERS = "chown 1000:1001 tree/one; chown 65534 tree/deep/two; chown -h 3 tree/deep/soft; chmod 600 tree/one"
JAVA_PROGRAM = r"""
import java.io.*;
import java.util.concurrent.*;
public class Job {
    public static void main(String[] words) throws Exception {
        try (var out = new PrintWriter(new FileWriter("in"))) { for (int n = 0; n < 5000; n++) out.println(n); }
        var pool = Executors.newFixedThreadPool(4);
        var sum = pool.submit(() -> new BufferedReader(new FileReader("in")).lines().mapToLong(Long::parseLong).sum());
        try (var out = new PrintWriter("out")) { out.println("sum " + sum.get()); }
        var child = new ProcessBuilder("tr", "a-z", "A-Z").redirectInput(new File("out")).start();
        System.out.print(new String(child.getInputStream().readAllBytes()) + child.waitFor() + "\n");
        System.out.println(new File("out").renameTo(new File("moved")));
        pool.shutdown();
    }
}
"""
JAVA = "java -Xshare:auto -XX:TieredStopAtLevel=1 -cp ../.. Job"
# java.nio.file loads the library for sockets, which at once checks for IPv6.
JAVA_FILES = """cat > Touch.java <<'END'
import java.nio.channels.FileChannel;
import java.nio.file.*;
public class Touch {
    public static void main(String[] words) throws Exception {
        Files.writeString(Path.of("out"), "written");
        try (var channel = FileChannel.open(Path.of("out"), StandardOpenOption.READ, StandardOpenOption.WRITE);
             var lock = channel.lock()) {
            System.out.println(channel.map(FileChannel.MapMode.READ_ONLY, 0, 7).remaining() + " " + lock.isValid());
        }
        System.out.println(Files.readString(Path.of("out")) + " " + Files.walk(Path.of(".")).count());
    }
}
END
java -Xshare:auto -XX:TieredStopAtLevel=1 Touch.java"""
NODE = """cat > job.js <<'END'
const fs = require('fs'), { Worker, isMainThread, parentPort } = require('worker_threads');
const { execFileSync, fork, spawn } = require('child_process');
if (process.argv[2]) { process.send(process.argv[2] + '!'); process.disconnect(); }
else if (!isMainThread) parentPort.postMessage(fs.readFileSync('in', 'utf8').length);
else {
  fs.writeFileSync('in', 'x'.repeat(100000));
  new Worker(__filename).on('message', (length) => console.log('worker', length)).on('exit', () => {
    console.log(execFileSync('wc', ['-c', 'in']).toString().trim());
    const child = spawn('tr', ['x', 'y'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let size = 0;
    child.stdout.on('data', (some) => { size += some.length; }).on('end', () => {
      console.log('piped', size);
      fork(__filename, ['sent']).on('message', (text) => console.log(text)).on('exit', () =>
        fs.promises.readFile('in').then((all) => console.log('promised', all.length)));
    });
    fs.createReadStream('in').pipe(child.stdin);
  });
}
END
UV_USE_IO_URING=1 node job.js"""

HARMLESS = [
    Job("sort", LINES + "; sort -n -S 1M --parallel=4 -T . lines | sha256sum; sort -u -k2 lines | tail -1"),
    Job("compress", LINES + """
sed -i 5000q lines
for each in gzip xz bzip2; do $each -c lines > packed; $each -dc packed | cmp - lines; echo $each; done
xz -T2 -0 -c lines | xz -dc | sha256sum""", ("xz", "bzip2")),
    Job("zip", "echo 1 > one; zip -q all.zip one; rm one; unzip -q all.zip; cat one", ("zip", "unzip")),
    Job("tar", TREE + "tar cf all.tar tree; mkdir x; tar xpf all.tar -C x; listed x; tar czf - tree | tar tz | sort"),
    Job("copies", TREE + "cp -a tree copied; listed copied; cmp tree/one copied/one; cp --sparse=always tree/one s"),
    Job("owners", TREE + OWNERS + """
tar cf all.tar tree; tar tvf all.tar --numeric-owner | awk '{print $1, $2, $6}' | sort
mkdir x; tar xpf all.tar -C x; listed x; cp -a tree copied; listed copied; cat tree/one
install -o 7 -g 8 -m 4755 tree/one set; stat -c '%u:%g %a' set; find tree -user 1000; rm -rf tree""", root=True),
    Job("others-files", """
echo secret > theirs; chmod 600 theirs; mkdir -m 700 closed; echo 1 > closed/file; chown -R 1234:1234 theirs closed
cat theirs closed/file; echo more >> theirs; wc -l < theirs; mv closed/file closed/moved; rm closed/moved""",
        root=True),
    Job("other-users", """
echo 1 > file; chmod 600 file; setpriv --reuid=1234 --regid=1234 --clear-groups id -u
setpriv --reuid=1234 --regid=1234 --clear-groups cat file || echo refused; PATH=$PATH:/usr/sbin:/sbin chroot / id -u""",
        ("setpriv",), root=True),
    Job("rsync", TREE + "rsync -a tree/ copied/; listed copied; rsync -ani tree/ copied/", ("rsync",)),
    Job("moves", TREE + """
mkdir a b; mv tree a/; mv a/tree b/; mv b/tree "$TMPDIR/t"; mv "$TMPDIR/t" back; listed back
elsewhere=$(mktemp -d -p /dev/shm); mv back "$elsewhere/x"; mv "$elsewhere/x" again; rmdir "$elsewhere"; listed again
ln again/one linked; stat -c %h linked"""),
    Job("locks", """
(flock 9; touch held; until test -e tried; do sleep 0.01; done) 9> lock & until test -e held; do sleep 0.01; done
flock -n lock true || echo locked; touch tried; wait; flock lock echo free""", ("flock",)),
    Job("fifo", "mkfifo pipe; seq 1000 > pipe & paste -sd+ pipe | sha256sum; wait; rm pipe"),
    Job("sqlite", """
sqlite3 a.db "pragma journal_mode=wal; create table t(n); insert into t values (1),(2); select sum(n) from t"
sqlite3 a.db "delete from t where n=1; vacuum; pragma integrity_check; select n from t" """, ("sqlite3",)),
    Job("git", """
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE=@1000000000+0000 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
export GIT_COMMITTER_DATE=@1000000000+0000 GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main one; cd one; seq 100 > file; git add file; git commit -qm first; git status --short; cd ..
git clone -q one two; git clone -q --no-local one three; cd three; echo 1 >> file; git commit -qam second
git push -q origin HEAD:other; git gc -q; git fsck; git log --format='%H %s'
cd ../one; git merge -q other; git log -1 --format=%s
""", ("git",)),
    Job("java", JAVA, ("java", "javac")),
    Job("java-files", JAVA_FILES, ("java",), record="java"),
    Job("node", NODE, ("node",)),
    Job("perl", r"""perl -e 'open my $p, "-|", "seq 9" or die; my @n = <$p>; print scalar(@n), "\n"; my $c = fork;
exit 3 unless $c; waitpid $c, 0; print $? >> 8, "\n"; use POSIX; print((getpwuid(0))[0], "\n")'""", ("perl",)),
    Job("awk", "seq 100 | awk '{ s += $1 } END { print s; \"echo piped\" | getline x; print x }'", ("awk",)),
    Job("make", """
printf 'all: a b c\\n%%: \\n\\t@echo $@ > $@; cat $@\\n' > Makefile; make -j3 -Otarget | sort""", ("make",)),
    Job("gcc", """
printf '#include <stdio.h>\\nint main(void) { return puts("compiled") < 0; }\\n' > a.c; gcc -pipe -O1 -o a a.c; ./a
ldd a | grep -c libc""", ("gcc",)),
    Job("processes", "sleep 60 & until ps -o comm= -p $! | grep sleep; do :; done; ps -ef > all; kill $!; "
        "wait $! || echo $?; grep -q 'sleep 60' all",
        ("ps",)),
    Job("asking", "nproc; id -u; id -g; date -d @0 +%F; df . > df; uname -s; who > who; hostname; "
        "ls -n /proc/self/fd | wc -l"),
    Job("temporary", 'f=$(mktemp); test "${f%/*}" = "$TMPDIR"; d=$(mktemp -d); stat -c %a "$f" "$d"; rm -r "$f" "$d"'),
    Job("timeout", "timeout 0.1 sleep 60 || echo $?; timeout -s KILL 0.1 sleep 60 || echo $?; timeout 60 echo in time"),
    Job("xargs", "seq 40 | xargs -P 4 -n 1 sh -c 'echo $((100 + $0 * 2))' | sort | sha256sum"),
    Job("bare", "env -i /bin/sh -c 'echo ${HOME-none}'; nice -n 5 nice; ionice -c 3 true; stdbuf -oL echo out"),
    Job("detached", "nohup sh -c 'echo hung' 2> said; setsid -w echo session; "
        "sh -c 'trap \"\" HUP; kill -HUP $$; echo up'"),
    Job("terminal", "script -qec 'tty > tty; echo typed' log > shown; grep -c typed shown; grep -c pts tty",
        ("script",)),
    Job("redirected", "bash -c 'cat <(echo a) <(echo b) | tee >(wc -l > n); coproc cat; echo c >&${COPROC[1]}; "
        "read -ru ${COPROC[0]} x; echo $x'; ulimit -n 256; ulimit -c 0; ulimit -n", ("bash",)),
    Job("logger", "logger -t job said; echo $?", ("logger",)),
    Job("pipelines", LINES + "; split -l 20000 lines part.; cat part.* | cmp - lines; dd if=lines bs=4k status=none | "
        "tr 0-9 a-j | cut -d' ' -f1 | sort | uniq -c | sort -rn | head -1 | wc -l; sed -i 1d lines; wc -l < lines"),
]  # fmt: skip

# The guard refuses this one: it must say so and end.
TRACED = "strace -o traced true 2>&1 || echo ended $?"
