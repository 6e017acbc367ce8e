/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library between programs and their disks, for LD_PRELOAD.
 *
 * It makes a cache that a loss of power empties: each write to a file first
 * saves the old data of the place to a log, and a flush of the file empties
 * the log. After a loss of power, shim.py writes the old data of all logs
 * back, the newest first. A log has the numbers of device and inode as its
 * name, because a file may get another name.
 *
 * Each read of an image fails with EIO while the file FAILING exists.
 *
 * HOME is the directory of the files, IMAGES that of the images below it, and
 * LOGS that of the logs. Loop devices count as images.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int below(const char *path, const char *directory)
{
    size_t length = strlen(directory);

    return !strncmp(path, directory, length) && path[length] == '/';
}

/* whether a file is below a directory, or a loop device */
static int concerns(int fd, const char *directory)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below(path, directory) || !strncmp(path, "/dev/loop", 9);
}

/* whether a read must fail, with errno */
static int fails(int fd)
{
    if (access(FAILING, F_OK) || !concerns(fd, IMAGES))
        return 0;
    errno = EIO;
    return 1;
}

/* Programs of any user write to the images, so all of them open the logs. */
static int open_shared(const char *name)
{
    int log = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    if (log >= 0)
        fchmod(log, 0666); /* only the owner can, and the first one is it */
    return log;
}

/* the log of a file, locked; -1 if the file has none */
static int open_log(int fd)
{
    char name[4096];
    struct stat found;
    int log;

    if (!concerns(fd, HOME))
        return -1;
    if (fstat(fd, &found))
        abort();
    snprintf(name, sizeof(name), LOGS "/%lu-%lu",
             (unsigned long)found.st_dev, (unsigned long)found.st_ino);
    log = open_shared(name);
    if (log < 0 || flock(log, LOCK_EX))
        abort();
    return log;
}

/*
 * By the descriptor that the program has, because libvirt may have given the
 * file to another user since. O_DIRECT needs whole pages.
 */
static void save(int log, int fd, off64_t at, uint64_t length)
{
    REAL(pread64);
    uint64_t head[2] = {at, length}, page = 4096;
    off64_t first = at - at % page;
    uint64_t all = (at + length - first + page - 1) / page * page;
    char *old = calloc(1, length + sizeof(head)), *pages;
    ssize_t read;

    if (!old || posix_memalign((void **)&pages, page, all))
        abort();
    memset(pages, 0, all);
    memcpy(old, head, sizeof(head));
    read = real(fd, pages, all, first);
    memcpy(old + sizeof(head), pages + (at - first), length);
    if (read < 0 || write(log, old, length + sizeof(head)) < 0)
        abort();
    free(pages);
    free(old);
}

static uint64_t total(const struct iovec *vector, int count)
{
    uint64_t sum = 0;

    for (int i = 0; i < count; i++)
        sum += vector[i].iov_len;
    return sum;
}

ssize_t pread64(int fd, void *data, size_t length, off64_t at)
{
    REAL(pread64);

    return fails(fd) ? -1 : real(fd, data, length, at);
}

ssize_t preadv64(int fd, const struct iovec *vector, int count, off64_t at)
{
    REAL(preadv64);

    return fails(fd) ? -1 : real(fd, vector, count, at);
}

ssize_t preadv64v2(int fd, const struct iovec *vector, int count, off64_t at,
                   int flags)
{
    REAL(preadv64v2);

    return fails(fd) ? -1 : real(fd, vector, count, at, flags);
}

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(write);
    int log = open_log(fd);
    struct stat found;
    ssize_t result;

    if (log >= 0) {
        if (fstat(fd, &found))
            abort();
        save(log, fd,
             fcntl(fd, F_GETFL) & O_APPEND ? found.st_size
                                           : lseek64(fd, 0, SEEK_CUR),
             length);
    }
    result = real(fd, data, length);
    if (log >= 0)
        close(log);
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at)
{
    REAL(pwrite64);
    int log = open_log(fd);
    ssize_t result;

    if (log >= 0)
        save(log, fd, at, length);
    result = real(fd, data, length, at);
    if (log >= 0)
        close(log);
    return result;
}

ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t at)
{
    REAL(pwritev64);
    int log = open_log(fd);
    ssize_t result;

    if (log >= 0)
        save(log, fd, at, total(vector, count));
    result = real(fd, vector, count, at);
    if (log >= 0)
        close(log);
    return result;
}

ssize_t pwritev64v2(int fd, const struct iovec *vector, int count, off64_t at,
                    int flags)
{
    REAL(pwritev64v2);
    int log = flags & RWF_DSYNC ? -1 : open_log(fd);
    ssize_t result;

    if (log >= 0)
        save(log, fd, at, total(vector, count));
    result = real(fd, vector, count, at, flags);
    if (log >= 0)
        close(log);
    return result;
}

int fallocate64(int fd, int mode, off64_t at, off64_t length)
{
    REAL(fallocate64);
    int log = open_log(fd), result;

    if (log >= 0)
        save(log, fd, at, length);
    result = real(fd, mode, at, length);
    if (log >= 0)
        close(log);
    return result;
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    int log = open_log(fd), result;

    result = real(fd);
    if (log >= 0) {
        if (!result && ftruncate(log, 0))
            abort();
        close(log);
    }
    return result;
}

int fsync(int fd)
{
    return fdatasync(fd);
}
