/* The part of attack.c that turns to other processes and namespaces. */
#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void open_for_writing(char **a) { told("open", open(a[0], O_WRONLY | O_CLOEXEC)); }

static void set_namespace(char **a)
{
    int fd = open(a[0], O_RDONLY);
    if (fd >= 0) told("setns", setns(fd, 0));
    else told("open", -1);
}

static void set_namespace_of(char **a)
{
    long fd = syscall(SYS_pidfd_open, atoi(a[0]), 0);
    told("setns", fd < 0 ? fd : setns(fd, CLONE_NEWNET));
}

static void get_descriptor(char **a)
{
    long pidfd = syscall(SYS_pidfd_open, atoi(a[0]), 0);
    long fd = told("pidfd_getfd", pidfd < 0 ? pidfd : syscall(SYS_pidfd_getfd, pidfd, atoi(a[1]), 0));
    if (fd >= 0) told("write", write(fd, token, strlen(token)));
}

static void trace(char **a)
{
    if (told("seize", ptrace(PTRACE_SEIZE, atoi(a[0]), NULL, NULL)) < 0)
        if (told("attach", ptrace(PTRACE_ATTACH, atoi(a[0]), NULL, NULL)) == 0)
            waitpid(atoi(a[0]), NULL, __WALL), ptrace(PTRACE_DETACH, atoi(a[0]), NULL, NULL);
}

static void trace_self(char **a)
{
    (void)a;
    told("traceme", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static void memory(char **a)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/mem", a[0]);
    told("mem", open(path, O_RDWR));
}

/* The same of every process that is not of this program's session. */
static void memories(char **a)
{
    (void)a;
    char path[300];
    struct dirent *each;
    for (DIR *all = opendir("/proc"); all && (each = readdir(all));)
        if (atoi(each->d_name) > 0 && getsid(atoi(each->d_name)) != getsid(0)) {
            snprintf(path, sizeof path, "/proc/%s/mem", each->d_name);
            int fd = open(path, O_RDWR);
            if (fd >= 0) printf("reached %s\n", path), close(fd);
        }
}

/* Look below the /proc of this namespace for one that shows a process outside. */
static void uncover(char **a)
{
    char path[64];
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) told("unshare", -1);
    for (int at = 0; at < 3; at++) umount2("/proc", MNT_DETACH);
    snprintf(path, sizeof path, "/proc/%s", a[0]);
    told(path, access(path, F_OK));
}

/* Type into a terminal. */
static void type(char **a)
{
    setsid();
    int fd = open(a[0], O_RDWR);
    told("TIOCSTI", fd < 0 ? fd : ioctl(fd, TIOCSTI, "x"));
}

/* Any mapped address of the other process will do to read a byte of it. */
static void memory_call(char **a)
{
    char path[64], byte;
    unsigned long start = 0;
    snprintf(path, sizeof path, "/proc/%s/maps", a[0]);
    FILE *maps = fopen(path, "r");
    if (maps == NULL || fscanf(maps, "%lx", &start) != 1) start = 0x400000;
    struct iovec here = {&byte, 1}, there = {(void *)start, 1};
    told("process_vm_readv", syscall(SYS_process_vm_readv, atoi(a[0]), &here, 1, &there, 1, 0));
}

/* Pipes of another process: its requests, its reports. */
static void descriptors(char **a)
{
    char path[64], link[256];
    for (int number = 0; number < 64; number++) {
        snprintf(path, sizeof path, "/proc/%s/fd/%d", a[0], number);
        ssize_t length = readlink(path, link, sizeof link - 1);
        if (length > 0 && (link[length] = 0, strncmp(link, "pipe:", 5) == 0)) {
            if (told("its pipe", open(path, O_RDWR | O_NONBLOCK)) >= 0) return;
        } else if (length < 0 && errno != ENOENT)
            told("its descriptors", -1);
    }
}

static void keys(char **a)
{
    (void)a;
    told("add_key", syscall(SYS_add_key, "user", token, "x", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */));
    told("keyctl", syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -2, 1));
}

static void bpf(char **a)
{
    (void)a;
    union bpf_attr made = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    told("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &made, sizeof made));
}

static void tunnel(char **a)
{
    struct ifreq ask = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    if (a[0]) strncpy(ask.ifr_name, a[0], IFNAMSIZ - 1);
    int fd = open("/dev/net/tun", O_RDWR);
    told("tun", fd < 0 ? fd : ioctl(fd, TUNSETIFF, &ask));
}

/* Every way to signal a process; a[1] is the way. Group 1 would be everybody. */
static void signal_it(char **a)
{
    int pid = atoi(a[0]), number = atoi(a[2]), ends[2];
    siginfo_t why = {.si_signo = number, .si_code = SI_QUEUE};
    if (strcmp(a[1], "kill") == 0) told("kill", kill(pid, number));
    if (strcmp(a[1], "group") == 0 && pid > 1) told("killpg", killpg(pid, number));
    if (strcmp(a[1], "tgkill") == 0) told("tgkill", syscall(SYS_tgkill, pid, pid, number));
    if (strcmp(a[1], "tkill") == 0) told("tkill", syscall(SYS_tkill, pid, number));
    if (strcmp(a[1], "queue") == 0) told("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, pid, number, &why));
    if (strcmp(a[1], "pidfd") == 0) {
        long fd = syscall(SYS_pidfd_open, pid, 0);
        told("pidfd_send_signal", fd < 0 ? fd : syscall(SYS_pidfd_send_signal, fd, number, NULL, 0));
    }
    if (strcmp(a[1], "owner") == 0 && pipe2(ends, O_NONBLOCK) == 0) { /* of a descriptor that becomes ready */
        if (fcntl(ends[0], F_SETOWN, pid) < 0 || fcntl(ends[0], F_SETSIG, number) < 0) told("owner", -1);
        fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
        if (write(ends[1], "x", 1) < 0) told("write", -1);
    }
}

/* A filter of the program's own asks the program's own thread, which lets `socket` pass. */
static void *let_pass(void *listener)
{
    struct seccomp_notif asked;
    struct seccomp_notif_resp answer;
    for (;;) {
        memset(&asked, 0, sizeof asked), memset(&answer, 0, sizeof answer);
        if (ioctl((int)(long)listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) return NULL;
        answer.id = asked.id, answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl((int)(long)listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

static void datagram(const char *port)
{
    struct sockaddr_in to = loopback(port);
    long fd = told("socket", socket(AF_INET, SOCK_DGRAM, 0));
    if (fd >= 0) told("sendto", sendto(fd, token, strlen(token), 0, (void *)&to, sizeof to));
}

static void notify(char **a)
{
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) printf("no listener: %s\n", strerrorname_np(errno));
    else if (fork() == 0) prctl(PR_SET_PDEATHSIG, SIGKILL), let_pass((void *)listener), _exit(0);
    datagram(a[0]);
}

/* Has the process a[1] killed by the kernel for the time that it takes to answer; then as `notify`. */
static void outlive(char **a)
{
    struct rlimit least = {1, 1};
    if (fork() || (setsid(), fork())) _exit(0);
    if (told("prlimit", prlimit(atoi(a[1]), RLIMIT_CPU, &least, NULL)) == 0) {
        while (socket(AF_INET, SOCK_DGRAM, 0) >= 0 || errno != ENOSYS) continue;
        notify(a);
    }
    close(open(a[2], O_CREAT | O_WRONLY, 0666));
}

/* Any process: sets a limit of it to what it is. */
static void limit(char **a)
{
    struct rlimit now;
    if (prlimit(atoi(a[0]), RLIMIT_CPU, NULL, &now) == 0 && prlimit(atoi(a[0]), RLIMIT_CPU, &now, NULL) == 0)
        told("prlimit", 0);
    else
        told("prlimit", -1);
}

/* Waits until the process a[1] is gone, tells so in the file a[2], then tries as `notify` does. */
static void notify_later(char **a)
{
    while (kill(atoi(a[1]), 0) == 0 || errno == EPERM) usleep(10000);
    notify(a);
    close(open(a[2], O_CREAT | O_WRONLY, 0666));
}

#define OTHERS \
    {"open", open_for_writing}, {"setns", set_namespace}, {"setns_of", set_namespace_of}, {"getfd", get_descriptor}, \
    {"trace", trace}, {"trace_self", trace_self}, {"mem", memory}, {"vm", memory_call}, {"fds", descriptors}, \
    {"keys", keys}, {"bpf", bpf}, {"tun", tunnel}, {"signal", signal_it}, {"notify", notify}, \
    {"memories", memories}, {"uncover", uncover}, {"type", type}, {"notify_later", notify_later}, {"outlive", outlive}, {"limit", limit},
