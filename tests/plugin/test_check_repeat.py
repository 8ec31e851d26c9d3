"""The check `repeat`: what a stage's bytes must not depend on, and how it names that."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from checked_stage import CheckedStage

from pytest_offpipe.checks import case

DEPENDS = "            it depends on: "


@pytest.fixture
def stage(pytester):
    return CheckedStage(pytester)


def test_passes_a_stage_that_depends_on_its_inputs_alone(stage):
    result = stage.python(
        """
        import os
        with open(os.environ["PIPELINE_INPUT_TEXT"]) as source, open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
            to.writelines(sorted(set(source)))
        """
    ).passes("repeat", "-rP")
    assert {line for line in result.outlines if line.startswith("not varied")} <= {
        "not varied: LANG (no UTF-8 locale is installed but C.UTF-8)",
        "not varied: the processors that it may use (there is only one)",
    }


FIXED = ["--mtime=@0", "--owner=0"]


@pytest.mark.full
@pytest.mark.parametrize(("words", "stdout"), [
    pytest.param(["wc", "-l", "{inputs.text}"], {"stdout": "text"}, marks=pytest.mark.full),
    (["cat", "{list.text}"], {"stdout": "text"}),
    pytest.param(["tar", *FIXED, "-cf", "{outputs.text}", "{inputs.text}"], {}, marks=pytest.mark.full),
])  # fmt: skip
def test_passes_a_program_that_puts_the_path_of_its_input_into_its_output(stage, words, stdout):
    del stage.stage["processor"]
    stage.stage.update(command=words, **stdout)
    stage.passes("repeat")


@pytest.mark.full
def test_finds_a_stamp_of_the_second(stage, whole_seconds):
    stage.shell('date +%s > "$o"').finds(
        "repeat",
        "text differs at line 1 (11 and 11 bytes)",
        "  done:     ran it from nothing, later, with another value of: the directory, HOME and 1? more",
        "  expected: the same bytes as undisturbed",
        "            undisturbed: *",
        "            elsewhere:   *",
        f"{DEPENDS}the time, or chance (it differs between two runs that are the same in all else)",
        "  by hand:  pytest 'spec.json::work[[]repeat]' --offpipe-seed *",
    )


DEPENDENT = {
    "print(os.getcwd(), os.environ['HOME'])": "the directory, and on HOME",
    "print(os.environ['HOME'])": "HOME",
    "print(os.uname().nodename)": "the host name",
    "print(list(set('abcdefghijklmnop')))": "the order of hashes (PYTHONHASHSEED, PERL_HASH_SEED)",
    "print(os.stat(os.environ['PIPELINE_INPUT_TEXT']).st_mtime)": "the modification times of its inputs",
    "print(os.path.basename(path))": "the run's id, which is in the names of partial outputs too",
    "print(os.listdir(os.environ['HOME']))": "the files in HOME",
    "print(os.getuid())": "the user",
    "print(os.umask(0))": "the umask",
    "import datetime; print(datetime.date.today().year)": "the date",
    "import time; print(int(time.time()) // 3600 % 24)": "the date",
    "print(os.cpu_count())": "the number of processors of the machine (os.cpu_count)",
    "import time; print(time.localtime(0).tm_hour)": "TZ (set it in env to keep it)",
    "print('work.py' in open('/proc/self/cmdline').read())": "a fresh interpreter",
}


@pytest.mark.full_after(1)
@pytest.mark.parametrize("source", DEPENDENT)
def test_names_what_the_bytes_depend_on(stage, source):
    stage.python(
        f"""
        import os
        path = os.environ["PIPELINE_OUTPUT_TEXT"]
        with open(path, "w") as to:
            print = lambda *words: to.write(repr(words))
            {source}
        """
    ).finds("repeat", f"{DEPENDS}{DEPENDENT[source]}")


@pytest.mark.parametrize("cpus", [1, [1, 9], 64], ids=str)
def test_varies_the_number_of_processors_of_a_stage_that_says_how_many(stage, cpus):
    source = 'import os\nopen(os.environ["PIPELINE_OUTPUT_TEXT"], "w").write(os.environ.get("PIPELINE_CPUS"))'
    cause = "the number of processors in its environment (PIPELINE_CPUS, OMP_NUM_THREADS)"
    stage.python(source, resources={"cpus": cpus}).finds("repeat", f"{DEPENDS}{cause}")


@pytest.mark.full
def test_varies_no_interpreter_of_a_stage_that_always_has_a_fresh_one(stage):
    source = 'import os, time\nopen(os.environ["PIPELINE_OUTPUT_TEXT"], "w").write(str(time.time()))'
    result = stage.python(source, freshInterpreter=True).check("repeat")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*a fresh interpreter*")


def test_names_the_processors_that_a_program_counts(stage):
    stage.shell('(getconf _NPROCESSORS_ONLN; nproc --all) > "$o"').finds(
        "repeat", f"{DEPENDS}the number of processors of the machine *"
    )


NEEDS_CC = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


@NEEDS_CC
@pytest.mark.parametrize("sealed", [False, True])
def test_names_the_date_and_the_order_of_entries(stage, sealed):
    (stage.pytester.path / "parts").mkdir()
    for part in "abcdef":
        (stage.pytester.path / "parts" / part).touch()
    stage.shell('(date +%F; ls -U parts) > "$o"', inputs={"parts": "parts/"}, sealed=sealed).finds(
        "repeat", f"{DEPENDS}the date, and on the order of directory entries"
    )


CORRECT = r"""
#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static struct timespec in_a_second(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    now.tv_sec++;
    return now;
}

static void seek(void) {
    DIR *parts = opendir("parts");
    char fourth[99];
    long begin = telldir(parts), here;
    int count = 0;
    readdir(parts), readdir(parts), readdir(parts);
    here = telldir(parts);
    strcpy(fourth, readdir(parts)->d_name);
    while (readdir(parts));
    seekdir(parts, here);
    if (strcmp(fourth, readdir(parts)->d_name)) puts("seekdir went elsewhere");
    for (seekdir(parts, begin); readdir(parts); count++);
    for (rewinddir(parts); readdir(parts); count++);
    printf("%d entries\n", count);
}

static void wait_until(void) {
    sem_t semaphore;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t of_date = PTHREAD_COND_INITIALIZER, monotonic;
    pthread_condattr_t clock;
    cnd_t condition;
    mtx_t lock;
    cnd_init(&condition);
    mtx_init(&lock, mtx_timed);
    mtx_lock(&lock);
    sem_init(&semaphore, 0, 0);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&monotonic, &clock);
    pthread_mutex_lock(&mutex);
    for (int way = 0; way < 6; way++) {
        struct timespec date = in_a_second(CLOCK_REALTIME), begin = in_a_second(CLOCK_MONOTONIC), end;
        if (way == 0) sem_timedwait(&semaphore, &date);
        if (way == 1) pthread_mutex_timedlock(&mutex, &date);
        if (way == 2) pthread_cond_timedwait(&of_date, &mutex, &date);
        if (way == 3) pthread_cond_timedwait(&monotonic, &mutex, &begin);
        if (way == 4) cnd_timedwait(&condition, &lock, &date);
        if (way == 5) clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &date, NULL);
        end = in_a_second(CLOCK_MONOTONIC);
        if (end.tv_sec == begin.tv_sec) printf("way %d did not wait\n", way);
    }
}

static void *list_again_and_again(void *unused) {
    for (;;) {
        DIR *parts = opendir("parts");
        while (readdir(parts));
        closedir(parts);
    }
}

static void fork_while_a_thread_lists(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, list_again_and_again, NULL);
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0) {
            readdir(opendir("parts"));
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

int main(void) {
    seek();
    wait_until();
    fork_while_a_thread_lists();
}
"""


@pytest.mark.full
@NEEDS_CC
def test_passes_a_program_that_seeks_in_a_directory_waits_until_a_date_and_forks(stage):
    (stage.pytester.path / "parts").mkdir()
    for part in "abcdef":
        (stage.pytester.path / "parts" / part).touch()
    (stage.pytester.path / "work.c").write_text(CORRECT)
    subprocess.run(["cc", "-pthread", "-o", "work", "work.c"], cwd=stage.pytester.path, check=True)
    assert subprocess.check_output(["./work"], cwd=stage.pytester.path) == b"16 entries\n"
    del stage.stage["processor"]
    stage.stage.update(command=["./work"], stdout="text", inputs={"parts": "parts/"})
    stage.passes("repeat")


@NEEDS_CC
def test_notes_that_a_program_that_is_linked_statically_keeps_its_date(stage):
    (stage.pytester.path / "work.c").write_text(
        "#include <stdio.h>\n#include <time.h>\n"
        'int main(void) { time_t now = time(NULL); printf("%d\\n", gmtime(&now)->tm_year); }\n'
    )
    subprocess.run(["cc", "-static", "-o", "work", "work.c"], cwd=stage.pytester.path, check=True)
    del stage.stage["processor"]
    stage.stage.update(command=["./work"], stdout="text")
    result = stage.passes("repeat", "-rP")
    result.stdout.fnmatch_lines(["not varied: the date (*/work is linked statically)"])


LISTED = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
LANGUAGES = [name for name in LISTED if name.endswith("utf8")]


@pytest.mark.skipif(len(LANGUAGES) < 2, reason="there is no UTF-8 locale but C.UTF-8")
def test_names_the_language(stage):
    stage.shell('printf "%s\\n" a B | sort > "$o"').finds("repeat", f"{DEPENDS}LANG (set it in env to keep it)")


def test_names_the_user_who_owns_files_in_an_archive(stage):
    stage.shell('tar --mtime=@0 -cf "$o" work.sh').finds("repeat", f"{DEPENDS}the user")


@pytest.mark.parametrize("source", [
    "env | cut -d= -f1 | sort",  # of sh
    "python3 -c 'import os; print(sorted(os.environ))'",
])  # fmt: skip
def test_passes_a_program_that_lists_the_names_of_its_variables(stage, source):
    stage.shell(f'{source} > "$o"').passes("repeat")


@pytest.mark.parametrize("check", ["repeat", "resume", "stop"])
def test_passes_a_stage_that_lists_the_names_of_its_variables(stage, check):
    stage.python(
        """
        import os, time

        with open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
            for name in sorted(os.environ):
                to.write(f"{name}\\n")
                to.flush()
                time.sleep(0.01)
        """
    ).passes(check)


def test_passes_outputs_with_the_modes_that_the_umask_leaves(stage):
    stage.shell('cp "$i" "$o"; chmod u+x "$o"').passes("repeat")


def test_passes_an_archive_with_a_fixed_owner(stage):
    stage.shell('tar --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$o" work.sh').passes("repeat")


def test_passes_a_stage_that_fails_for_a_user_other_than_its_own_and_says_so(stage):
    result = stage.shell(f'test "$(id -u)" = {os.getuid()}; cp "$i" "$o"').passes("repeat", "-rP")
    result.stdout.fnmatch_lines(["it fails for another user: *"])


TWO_REASONS = """
    test "$(id -u)" = {uid}
    case $PWD in *" "*) exit 1 ;; esac
"""


def test_passes_a_stage_that_fails_for_two_such_reasons_and_says_so(stage):
    result = stage.shell(TWO_REASONS.format(uid=os.getuid()) + 'cp "$i" "$o"').passes("repeat", "-rP")
    result.stdout.fnmatch_lines(["it fails below a directory that is called *", "it fails for another user: *"])
    result.stdout.no_fnmatch_line("*it fails on another date*")


@NEEDS_CC
def test_varies_all_else_of_a_stage_that_fails_for_two_such_reasons(stage):
    stage.shell(TWO_REASONS.format(uid=os.getuid()) + 'date +%Y > "$o"').finds("repeat", f"{DEPENDS}the date")


def test_looks_for_such_a_reason_also_when_the_budget_is_spent(stage):
    result = stage.shell('sleep 0.3; cat $i > "$o"').passes("repeat", "-rP", "--offpipe-budget", "0.1")
    result.stdout.fnmatch_lines(["not tried below a directory that is called *, because no time is left *"])


def test_leaves_the_zone_that_env_sets(stage):
    stage.shell('date -d @0 +%H > "$o"', env={"TZ": "UTC"}).passes("repeat")


def test_passes_processes_that_are_spawned_and_hard_links(stage):
    stage.python(
        """
        import multiprocessing, os

        def main():
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                assert pool.map(abs, [-1, -2]) == [1, 2]
            os.link(os.environ["PIPELINE_INPUT_TEXT"], os.environ["TMPDIR"] + "/linked")
            with open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
                to.write(open(os.environ["TMPDIR"] + "/linked").read())

        if __name__ == "__main__":
            main()
        """
    ).passes("repeat")


@pytest.mark.full
@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="there is one processor only")
def test_names_the_processors(stage):
    stage.shell('nproc > "$o"').finds("repeat", f"{DEPENDS}the processors that it may use*")


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("perl"), reason="there is no perl")
def test_names_the_order_of_hashes_of_perl(stage):
    stage.shell("""perl -e '%h = map { $_ => 1 } 1 .. 99; print join " ", keys %h' > "$o" """).finds(
        "repeat", f"{DEPENDS}the order of hashes*"
    )


@pytest.mark.full
def test_finds_a_stage_that_goes_by_which_input_is_the_newest(stage):
    for number, name in enumerate(["old", "new"]):
        (stage.pytester.path / f"{name}.csv").write_text(f"{name}\n")
        os.utime(stage.pytester.path / f"{name}.csv", (number, number))
    stage.shell('cat $(ls -t *.csv) > "$o"', inputs={"all": "*.csv"}).finds(
        "repeat", r"            undisturbed: 'new\n'", f"{DEPENDS}the modification times of its inputs"
    )


@pytest.mark.full
def test_finds_what_a_run_left_for_one_in_the_same_place(stage):
    stage.shell('cat "$i" >> seen; cat seen > "$o"').finds(
        "repeat",
        "text differs at line 201 (3,690 and 7,380 bytes)",
        "  done:     ran it from nothing, later and elsewhere, then once more in place",
        r"            in place:    'line 0 of a text\n'",
        f"{DEPENDS}what its first run left, or on chance",
    )


def test_each_attempt_begins_with_an_empty_tmpdir(stage):
    stage.shell('test -z "$(ls -A $TMPDIR)"; cp "$i" $TMPDIR/left; cp "$i" "$o"').passes("repeat")


@pytest.mark.full
def test_goes_on_in_a_plainer_directory_with_a_stage_that_spaces_break(stage):
    result = stage.shell('cat $i > "$o"').passes("repeat", "-rP")
    result.stdout.fnmatch_lines(['it fails below a directory that is called "else where/*'])


@pytest.mark.full
def test_compares_existence_only_of_a_volatile_stage_and_says_so(stage):
    stage.shell('date +%N > "$o"')
    stage.stage["x-offpipe"] = {"volatile": "stamps the time"}
    result = stage.passes("repeat", "-rP")
    result.stdout.fnmatch_lines(["compared existence only, *: stamps the time"])


@pytest.mark.full
def test_leaves_the_host_name_out_without_a_namespace_and_says_so(stage):
    stage.shell('uname -n > "$o"')
    result = stage.check_denied("repeat", "-rP")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not varied: the host name (unshare(*) failed: EPERM *"])


@pytest.mark.full
@pytest.mark.parametrize("name", ["retry", "resume", "stop", "full"])
def test_failure_skips_checks_whose_faults_would_be_blamed(stage, name):
    stage.text *= 4
    stage.shell('(echo $HOME; cat "$i") > "$o"; sleep 0.2')
    result = stage.check(f"repeat,{name}")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*its bytes differ even with nothing done to it: work[[]repeat] fails"])


@pytest.mark.full
def test_failure_skips_a_full_disk_that_would_be_blamed_for_the_order_of_hashes(stage):
    stage.python(
        """
        import os
        with open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
            to.writelines({f"word {number}\\n" for number in range(2000)})
        """
    )
    result = stage.check("repeat,full")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*its bytes differ even with nothing done to it: work[[]repeat] fails"])


def test_waits_until_whole_seconds_differ_and_no_longer_where_the_clock_was_set_back(monkeypatch, whole_seconds):
    slept = []
    monkeypatch.setattr(case, "time", SimpleNamespace(time=lambda: 100.0, sleep=slept.append))
    for moment in (99.5, 90.0, 200.0):
        case.await_later(moment)
    assert slept == [pytest.approx(0.6), 0.0, 1.1]


def test_another_check_finds_differing_bytes_where_repeat_is_not_made(stage):
    stage.shell('echo $HOME > "$o"').finds(
        "retry",
        "text differs at line 1 *",
        "  done:     ran it once more, with nothing done to it",
        "  expected: the same bytes as undisturbed",
        "            undisturbed: ...'*/run/home*",
        "            once more:   ...'*/work.retry/control/home*",
    )
