/*
 *    Licensed under the Apache License, Version 2.0 (the "License"); you may
 *    not use this file except in compliance with the License. You may obtain
 *    a copy of the License at
 *
 *         http://www.apache.org/licenses/LICENSE-2.0
 *
 *    Unless required by applicable law or agreed to in writing, software
 *    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
 *    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
 *    License for the specific language governing permissions and limitations
 *    under the License.
 *
 * The whole user space of the test guest: one writer for each disk, which
 * writes numbered records and reports each one on the console only after the
 * disk has acknowledged it.
 *
 * The kernel hands over nbc.NAME=VALUE of its command line as environment:
 *   nbc.disks     how many disks, vda and so on
 *   nbc.offset    bytes, where the region of the records begins
 *   nbc.length    bytes, how long it is
 *   nbc.interval  microseconds between two records; 0 = as fast as it goes
 *   nbc.load      bytes/s of other writes behind the region; 0 = none
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORD 512
#define BLOCK 65536
/* odd, so that n -> n * STRIDE mod slots visits every slot once */
#define STRIDE 7919

static char cmdline[4096];

static unsigned long long parameter(const char *name)
{
    const char *found = strstr(cmdline, name);

    return found ? strtoull(found + strlen(name), NULL, 10) : 0;
}

static void load_modules(void)
{
    static const char *names[] = {
        "virtio_ring", "virtio", "virtio_pci_legacy_dev",
        "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
    };
    char path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "/%s.ko", names[i]);
        int fd = open(path, O_RDONLY);
        if (fd >= 0) { /* absent: built into this kernel */
            syscall(SYS_finit_module, fd, "", 0);
            close(fd);
        }
    }
}

static void say(const char *line)
{
    /* one write, so that the lines of two writers do not mix */
    if (write(1, line, strlen(line)) < 0)
        _exit(1);
}

static int open_disk(char letter)
{
    char path[16];
    struct stat found;

    snprintf(path, sizeof(path), "/dev/vd%c", letter);
    for (;;) {
        if (!stat(path, &found) && S_ISBLK(found.st_mode)) {
            int fd = open(path, O_RDWR | O_DIRECT | O_DSYNC);
            if (fd >= 0)
                return fd;
        }
        usleep(10000);
    }
}

static void write_records(char letter)
{
    uint64_t offset = parameter("nbc.offset=");
    uint64_t slots = parameter("nbc.length=") / RECORD;
    useconds_t interval = parameter("nbc.interval=");
    uint64_t *buffer;
    char line[64];
    int fd = open_disk(letter);

    if (posix_memalign((void **)&buffer, 4096, RECORD))
        _exit(1);
    for (uint64_t n = 0; n < slots; n++) {
        for (int i = 0; i < RECORD / 8; i += 2) {
            memcpy(&buffer[i], "nbcrec_", 7);
            ((char *)&buffer[i])[7] = letter;
            buffer[i + 1] = n;
        }
        off_t at = offset + n * STRIDE % slots * RECORD;
        while (pwrite(fd, buffer, RECORD, at) != RECORD) {
            snprintf(line, sizeof(line), "e %c %llu %d\n", letter,
                     (unsigned long long)n, errno);
            say(line);
            usleep(100000);
        }
        snprintf(line, sizeof(line), "w %c %llu\n", letter,
                 (unsigned long long)n);
        say(line);
        if (interval)
            usleep(interval);
    }
    snprintf(line, sizeof(line), "full %c\n", letter);
    say(line);
}

static void write_load(char letter)
{
    uint64_t begin = parameter("nbc.offset=") + parameter("nbc.length=");
    uint64_t rate = parameter("nbc.load=");
    uint64_t length = parameter("nbc.load_length=");
    uint64_t *buffer;
    uint64_t seed = 88172645463325252ULL;
    int fd = open_disk(letter);

    if (posix_memalign((void **)&buffer, 4096, BLOCK))
        _exit(1);
    for (uint64_t n = 0;; n++) {
        for (int i = 0; i < BLOCK / 8; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            buffer[i] = seed;
        }
        if (pwrite(fd, buffer, BLOCK, begin + n * BLOCK % length) != BLOCK)
            usleep(100000);
        usleep(BLOCK * 1000000ULL / rate);
    }
}

int main(void)
{
    unsigned long long disks;
    FILE *f;

    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    f = fopen("/proc/cmdline", "r");
    if (f) {
        if (!fgets(cmdline, sizeof(cmdline), f))
            cmdline[0] = 0;
        fclose(f);
    }
    load_modules();
    disks = parameter("nbc.disks=");
    for (unsigned long long i = 0; i < disks; i++) {
        if (!fork()) {
            write_records('a' + i);
            for (;;)
                pause();
        }
        if (parameter("nbc.load=") && !fork())
            write_load('a' + i);
    }
    for (;;)
        pause();
}
