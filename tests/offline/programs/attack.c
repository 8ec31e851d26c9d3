/* Ways out below every library: `attack WAY TOKEN WHERE...`. Says `trying`, then `reached WHAT` when a call went
   through that must not, or `refused ERRNO`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *token;

/* Says what came of a call, and gives its result back. */
static long told(const char *what, long result)
{
    const char *name = result < 0 ? strerrorname_np(errno) : NULL;
    if (result < 0) printf("refused %s\n", name ? name : "?");
    else printf("reached %s\n", what);
    fflush(stdout);
    return result;
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr = {htonl(0x7f000001)}};
}

static void deliver(long fd, const char *port)
{
    struct sockaddr_in to = loopback(port);
    if (told("socket", fd) < 0 || told("connect", connect(fd, (void *)&to, sizeof to)) < 0) return;
    told("write", write(fd, token, strlen(token)));
}

static void tcp(char **a) { deliver(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0), a[0]); }

/* Gone from disk before it tries. */
static void unlinked(char **a)
{
    char self[4096] = {0};
    if (readlink("/proc/self/exe", self, sizeof self - 1) > 0) unlink(self);
    tcp(a);
}

/* The kernel looks at 32 bits of each argument; a filter may look at 64. */
static void high_bits(char **a)
{
    deliver(syscall(SYS_socket, 0xdead00000000UL | AF_INET, 0x100000000UL | SOCK_STREAM | SOCK_CLOEXEC, 0), a[0]);
}

static void pair_high_bits(char **a)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int ends[2];
    strncpy(to.sun_path, a[0], sizeof to.sun_path - 1);
    if (told("socketpair", syscall(SYS_socketpair, 0x700000000UL | AF_UNIX, 0x100000000UL | SOCK_DGRAM, 0, ends)) == 0)
        told("sendto", sendto(ends[0], token, strlen(token), 0, (void *)&to, sizeof to));
}

static void pair_family(char **a)
{
    int ends[2];
    told("socketpair", syscall(SYS_socketpair, atoi(a[0]), SOCK_STREAM, 0, ends));
}

static void vforked(char **a)
{
    if (vfork() == 0) {
        tcp(a);
        _exit(0);
    }
    wait(NULL);
}

static void *thread(void *a) { return tcp(a), NULL; }
static void threaded(char **a)
{
    pthread_t made;
    pthread_create(&made, NULL, thread, a);
    pthread_join(made, NULL);
}

/* A child makes the socket in the table of descriptors that it shares with the program. */
static int make(void *fd) { return *(long *)fd = told("socket", socket(AF_INET, SOCK_STREAM, 0)), 0; }
static void shared(char **a)
{
    static long fd = -1;
    char *stack = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (clone(make, stack + (1 << 20), CLONE_VM | CLONE_FILES | SIGCHLD, &fd) < 0) return;
    wait(NULL);
    if (fd >= 0) deliver(fd, a[0]);
}

static void unshared(char **a)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) unshare(CLONE_NEWUSER);
    told("socket", socket(AF_INET, SOCK_STREAM, 0));
    tcp(a);
}

#ifdef __x86_64__
static long int80(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long di __asm__("rdi") = e;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "r"(di) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096) return errno = -result, -1;
    return result;
}

/* The 32 bit entry of the kernel, as `socket` and as the older `socketcall`. */
static void entry32(char **a)
{
    uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    struct sockaddr_in *to = (void *)(low + 16);
    long old = strcmp(a[1], "socketcall") == 0, fd;
    *to = loopback(a[0]);
    low[0] = AF_INET, low[1] = SOCK_STREAM, low[2] = 0;
    fd = told("socket", old ? int80(102, 1, (long)low, 0, 0, 0) : int80(359, AF_INET, SOCK_STREAM, 0, 0, 0));
    if (fd < 0) return;
    low[0] = fd, low[1] = (uint32_t)(long)to, low[2] = sizeof *to;
    if (told("connect", old ? int80(102, 3, (long)low, 0, 0, 0) : int80(362, fd, (long)to, sizeof *to, 0, 0)) == 0)
        told("write", write(fd, token, strlen(token)));
}

static void x32(char **a) { deliver(syscall(0x40000000 | SYS_socket, AF_INET, SOCK_STREAM, 0), a[0]); }
#endif

static struct { int fd; unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask; struct io_uring_sqe *sqes; struct io_uring_cqe *cqes; } ring;

static long uring(uint8_t opcode, int fd, uint64_t address, uint32_t length, uint64_t offset)
{
    unsigned at = *ring.sq_tail & *ring.sq_mask;
    ring.sqes[at] = (struct io_uring_sqe){.opcode = opcode, .fd = fd, .addr = address, .len = length, .off = offset};
    ring.sq_array[at] = at;
    __atomic_store_n(ring.sq_tail, *ring.sq_tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) return -1;
    long result = ring.cqes[*ring.cq_head & *ring.cq_mask].res;
    __atomic_store_n(ring.cq_head, *ring.cq_head + 1, __ATOMIC_RELEASE);
    return result < 0 ? (errno = -result, -1) : result;
}

/* Socket, connect and send by a ring: no system call of theirs is made. */
static void io_uring(char **a)
{
    struct io_uring_params p = {0};
    struct sockaddr_in to = loopback(a[0]);
    if (told("io_uring_setup", ring.fd = syscall(SYS_io_uring_setup, 8, &p)) < 0) return;
    char *sq = mmap(NULL, p.sq_off.array + 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, p.cq_off.cqes + 1024, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
    ring.sqes = mmap(NULL, 8 * sizeof *ring.sqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
    ring.sq_tail = (void *)(sq + p.sq_off.tail), ring.sq_mask = (void *)(sq + p.sq_off.ring_mask);
    ring.sq_array = (void *)(sq + p.sq_off.array), ring.cqes = (void *)(cq + p.cq_off.cqes);
    ring.cq_head = (void *)(cq + p.cq_off.head), ring.cq_tail = (void *)(cq + p.cq_off.tail);
    ring.cq_mask = (void *)(cq + p.cq_off.ring_mask);
    long fd = told("socket", uring(45 /* IORING_OP_SOCKET */, AF_INET, 0, 0, SOCK_STREAM));
    if (fd < 0 || told("connect", uring(IORING_OP_CONNECT, fd, (uint64_t)&to, 0, sizeof to)) < 0) return;
    told("send", uring(IORING_OP_SEND, fd, (uint64_t)token, strlen(token), 0));
}

#include "attack_others.h"

static const struct { const char *name; void (*way)(char **); } WAYS[] = {
    {"tcp", tcp}, {"unlinked", unlinked}, {"high_bits", high_bits}, {"pair_high_bits", pair_high_bits},
    {"pair_family", pair_family}, {"vforked", vforked}, {"threaded", threaded}, {"shared", shared},
    {"unshared", unshared}, {"io_uring", io_uring},
#ifdef __x86_64__
    {"entry32", entry32}, {"x32", x32},
#endif
    OTHERS
};

int main(int count, char **words)
{
    token = words[2];
    puts("trying");
    fflush(stdout);
    for (size_t at = 0; at < sizeof WAYS / sizeof *WAYS; at++)
        if (count > 2 && strcmp(words[1], WAYS[at].name) == 0) return WAYS[at].way(words + 3), 0;
    return 64;
}
