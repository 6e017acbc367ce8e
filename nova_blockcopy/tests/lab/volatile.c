/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk with a cache that a loss of power empties, for LD_PRELOAD.
 *
 * Each write to an image first saves the old data of the place to a log. A
 * flush of the image empties the log. After a loss of power, power.py writes
 * the old data of all logs back, the newest first.
 *
 * IMAGES is the directory of the images, and LOGS that of the logs. Loop
 * devices count as images, too.
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

/* the log of an image, locked; -1 if the file is no image */
static int open_log(int fd)
{
    char link[64], path[4096], name[8192];
    ssize_t length;
    int log;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return -1;
    path[length] = 0;
    if (strncmp(path, IMAGES "/", strlen(IMAGES) + 1) &&
        strncmp(path, "/dev/loop", 9))
        return -1;
    for (char *c = path; *c; c++)
        if (*c == '/')
            *c = '|';
    snprintf(name, sizeof(name), LOGS "/%s", path);
    log = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || flock(log, LOCK_EX))
        abort();
    return log;
}

static void save(int log, int fd, off64_t at, uint64_t length)
{
    char link[64];
    uint64_t head[2] = {at, length};
    char *old = calloc(1, length + sizeof(head));
    int image;
    ssize_t read;

    /* without O_DIRECT, which would need an aligned buffer */
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    image = open(link, O_RDONLY | O_CLOEXEC);
    if (!old || image < 0)
        abort();
    memcpy(old, head, sizeof(head));
    read = pread64(image, old + sizeof(head), length, at);
    if (read < 0 || write(log, old, length + sizeof(head)) < 0)
        abort();
    close(image);
    free(old);
}

static uint64_t total(const struct iovec *vector, int count)
{
    uint64_t sum = 0;

    for (int i = 0; i < count; i++)
        sum += vector[i].iov_len;
    return sum;
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
