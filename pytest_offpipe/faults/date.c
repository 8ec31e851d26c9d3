/* Preloaded for the check `repeat`: the date is 400 days and some hours ago, so that year, month, day of the week, hour
   and minute are others. Clocks that only measure durations are as they are. The usual calls that wait until a date
   wait as long as without this library; those for read-write locks, message queues and timers do not. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#if __SIZEOF_LONG__ < 8
#error "the kernel's struct timespec is another one on 32 bits"
#endif

static const time_t AGO = ((400 * 24 + 11) * 60 + 17) * 60;
static const time_t LEAST_DATE = 30 * 365 * 24 * 60 * 60; /* in 2000; a monotonic clock begins at 0 with the machine */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI))
        now->tv_sec -= AGO;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int result = syscall(SYS_gettimeofday, now, zone);
    if (result == 0)
        now->tv_sec -= AGO;
    return result;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}

static struct timespec real(const struct timespec *shown) {
    time_t seconds;
    if (__builtin_add_overflow(shown->tv_sec, AGO, &seconds))
        seconds = shown->tv_sec; /* "for ever" */
    return (struct timespec){seconds, shown->tv_nsec};
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    struct timespec moved = clock == CLOCK_REALTIME && flags == TIMER_ABSTIME ? real(wanted) : *wanted;
    return syscall(SYS_clock_nanosleep, clock, flags, &moved, left) ? errno : 0;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec moved = real(until);
    return sem_clockwait(semaphore, CLOCK_REALTIME, &moved);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    struct timespec moved = real(until);
    return pthread_mutex_clocklock(mutex, CLOCK_REALTIME, &moved);
}

int pthread_cond_timedwait(
    pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict until
) {
    if (until->tv_sec < LEAST_DATE) /* pthread_condattr_setclock(3) chose a monotonic clock */
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, until);
    struct timespec moved = real(until);
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &moved);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    int error = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);
    return error == ETIMEDOUT ? thrd_timedout : error ? thrd_error : thrd_success;
}
