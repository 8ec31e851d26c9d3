/* A view of the files below ROOT that is AGE seconds old, as a client of a network file system may have it. To preload
 * into every process of one machine. A file that another machine made or replaced since then is absent, or still what
 * lies below OLD. What this machine writes is fresh: its inodes are the names of files in OWN. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static int there(const char *path) { return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0; }

static int own(const struct stat *status, int add)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%lu", OWN, (unsigned long)status->st_ino);
    if (add)
        syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    return there(path);
}

/* Return the path of what is seen at a path; NULL for nothing. */
static const char *seen(int at, const char *path, char *buffer)
{
    struct stat status;
    struct timespec now;
    char whole[PATH_MAX];
    if (at != AT_FDCWD || !path || !*path)
        return path;
    if (*path == '/')
        snprintf(whole, sizeof whole, "%s", path);
    else if (getcwd(buffer, PATH_MAX))
        snprintf(whole, sizeof whole, "%.2000s/%.2000s", buffer, path);
    if (strncmp(whole, ROOT "/", sizeof ROOT))
        return path;
    if (syscall(SYS_newfstatat, AT_FDCWD, whole, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode))
        return path;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec - status.st_ctim.tv_sec > AGE || own(&status, 0))
        return path;
    snprintf(buffer, PATH_MAX, "%s/%.2000s", OLD, whole + sizeof ROOT);
    if (there(buffer))
        return buffer;
    errno = ENOENT;
    return NULL;
}

static int opened(int at, const char *path, int flags, unsigned mode)
{
    char buffer[PATH_MAX];
    struct stat status;
    int descriptor;
    if (!(flags & O_CREAT) && !(path = seen(at, path, buffer)))
        return -1;
    descriptor = syscall(SYS_openat, at, path, flags, mode);
    if (descriptor >= 0 && (flags & O_ACCMODE) != O_RDONLY && (flags & O_TMPFILE) != O_TMPFILE &&
        !syscall(SYS_fstat, descriptor, &status) && S_ISREG(status.st_mode))
        own(&status, 1);
    return descriptor;
}

static unsigned mode_of(int flags, va_list words)
{
    return flags & O_CREAT ? va_arg(words, unsigned) : 0;
}

#define OPEN(name, ...)                                                                                                \
    {                                                                                                                  \
        va_list words;                                                                                                 \
        va_start(words, flags);                                                                                        \
        unsigned mode = mode_of(flags, words);                                                                         \
        va_end(words);                                                                                                 \
        return opened(__VA_ARGS__, path, flags, mode);                                                                 \
    }

EXPORT int open(const char *path, int flags, ...) OPEN(open, AT_FDCWD)
EXPORT int open64(const char *path, int flags, ...) OPEN(open64, AT_FDCWD)
EXPORT int openat(int at, const char *path, int flags, ...) OPEN(openat, at)
EXPORT int openat64(int at, const char *path, int flags, ...) OPEN(openat64, at)

static int status_of(int at, const char *path, void *status, int flags)
{
    char buffer[PATH_MAX];
    if (!(path = seen(at, path, buffer)))
        return -1;
    return syscall(SYS_newfstatat, at, path, status, flags);
}

EXPORT int stat(const char *path, struct stat *status) { return status_of(AT_FDCWD, path, status, 0); }
EXPORT int stat64(const char *path, struct stat64 *status) { return status_of(AT_FDCWD, path, status, 0); }
EXPORT int lstat(const char *path, struct stat *status)
{
    return status_of(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}
EXPORT int lstat64(const char *path, struct stat64 *status)
{
    return status_of(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}
EXPORT int fstatat(int at, const char *path, struct stat *status, int flags)
{
    return status_of(at, path, status, flags);
}
EXPORT int fstatat64(int at, const char *path, struct stat64 *status, int flags)
{
    return status_of(at, path, status, flags);
}

EXPORT int access(const char *path, int mode)
{
    char buffer[PATH_MAX];
    return (path = seen(AT_FDCWD, path, buffer)) ? syscall(SYS_faccessat, AT_FDCWD, path, mode) : -1;
}

EXPORT int rename(const char *from, const char *to)
{
    struct stat status;
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!result && !syscall(SYS_newfstatat, AT_FDCWD, to, &status, AT_SYMLINK_NOFOLLOW) && S_ISREG(status.st_mode))
        own(&status, 1);
    return result;
}

#define READ_DIRECTORY(name, kind)                                                                                     \
    EXPORT struct kind *name(DIR *directory)                                                                           \
    {                                                                                                                  \
        static struct kind *(*real)(DIR *);                                                                            \
        char link[64], place[PATH_MAX], path[PATH_MAX], buffer[PATH_MAX];                                              \
        struct kind *entry;                                                                                            \
        if (!real)                                                                                                     \
            real = (struct kind * (*)(DIR *)) dlsym(RTLD_NEXT, #name);                                                 \
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd(directory));                                             \
        ssize_t length = readlink(link, place, sizeof place - 1);                                                      \
        place[length > 0 ? length : 0] = 0;                                                                            \
        int before = errno;                                                                                            \
        while ((entry = real(directory))) {                                                                            \
            snprintf(path, sizeof path, "%.2000s/%.1000s", place, entry->d_name);                                      \
            if (seen(AT_FDCWD, path, buffer))                                                                          \
                return entry;                                                                                          \
            errno = before;                                                                                            \
        }                                                                                                              \
        return NULL;                                                                                                   \
    }

READ_DIRECTORY(readdir, dirent)
READ_DIRECTORY(readdir64, dirent64)
