/* Preloaded for the check `repeat`: a directory lists its entries in reverse order. The first call reads them all; from
   then on, a position (telldir) is the number of entries that were returned. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if __SIZEOF_LONG__ < 8
#error "struct dirent and struct dirent64 differ on 32 bits"
#endif

struct listing {
    DIR *of;
    struct dirent **entries;
    size_t count, left;
    struct listing *next;
};

static struct listing *listings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void take(void) { pthread_mutex_lock(&lock); }
static void release(void) { pthread_mutex_unlock(&lock); }

/* A child that is forked while another thread reads finds the lock free. */
__attribute__((constructor)) static void survive_fork(void) { pthread_atfork(take, release, release); }

static struct listing *read_all(DIR *of) {
    struct dirent *(*next_entry)(DIR *) = dlsym(RTLD_NEXT, "readdir"), *entry;
    struct listing *all = calloc(1, sizeof *all);
    all->of = of;
    while ((entry = next_entry(of))) {
        all->entries = realloc(all->entries, (all->count + 1) * sizeof entry);
        all->entries[all->count++] = memcpy(malloc(entry->d_reclen), entry, entry->d_reclen);
    }
    all->left = all->count;
    all->next = listings;
    return listings = all;
}

/* The caller holds the lock. */
static struct listing *listing_of(DIR *of) {
    struct listing *found = listings;
    while (found && found->of != of)
        found = found->next;
    return found ? found : read_all(of);
}

static void forget(DIR *of) {
    pthread_mutex_lock(&lock);
    for (struct listing **link = &listings, *found; (found = *link); link = &found->next) {
        if (found->of == of) {
            *link = found->next;
            while (found->count)
                free(found->entries[--found->count]);
            free(found->entries);
            free(found);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

struct dirent *readdir(DIR *of) {
    pthread_mutex_lock(&lock);
    struct listing *all = listing_of(of);
    struct dirent *entry = all->left ? all->entries[--all->left] : NULL;
    pthread_mutex_unlock(&lock);
    return entry;
}

struct dirent64 *readdir64(DIR *of) {
    return (struct dirent64 *)readdir(of);
}

long telldir(DIR *of) {
    pthread_mutex_lock(&lock);
    struct listing *all = listing_of(of);
    long position = all->count - all->left;
    pthread_mutex_unlock(&lock);
    return position;
}

void seekdir(DIR *of, long position) {
    pthread_mutex_lock(&lock);
    struct listing *all = listing_of(of);
    all->left = all->count - position;
    pthread_mutex_unlock(&lock);
}

void rewinddir(DIR *of) {
    forget(of);
    ((void (*)(DIR *))dlsym(RTLD_NEXT, "rewinddir"))(of);
}

int closedir(DIR *of) {
    forget(of);
    return ((int (*)(DIR *))dlsym(RTLD_NEXT, "closedir"))(of);
}
