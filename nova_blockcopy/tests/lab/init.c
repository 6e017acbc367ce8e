/* SPDX-License-Identifier: Apache-2.0 */
/*
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
 *   nbc.chaos     microseconds between two operations of the chaos writer,
 *                 which writes, zeroes and discards all over the disk, but
 *                 not in the region; 0 = none
 *   nbc.discards  1 = some of that are discards, 0 = zero-outs in their place
 *   nbc.lazy      1 = writes do not wait for stable storage (no O_DSYNC)
 *   nbc.reader    microseconds between two reads of 4 KiB anywhere; 0 = none,
 *                 1 = as fast as it goes
 *
 * The second serial port takes orders: "q" makes all writers stop between two
 * operations, after which the console says "quiet"; "g" makes them go on. "r"
 * reboots and "o" powers off, like a user of the guest. "c" crashes the
 * kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define RECORD 512
#define BLOCK 65536
#define SECTOR 512
#define PAGE 4096
#define LONGEST (16 * BLOCK)
/* a mirror of granularity 512 takes no longer run in one request */
#define LONG (8 * BLOCK)
/* operations of chaos from one report to the next */
#define REPORT 8
#define REPORT_NS 50000000
/* odd, so that n -> n * STRIDE mod slots visits every slot once */
#define STRIDE 7919

static char cmdline[4096];
/* a writer holds it during each operation; who holds it alone, stops all */
static pthread_rwlock_t *gate;

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
        "pvpanic", "pvpanic-mmio",
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
    int flags = O_RDWR | O_DIRECT | (parameter("nbc.lazy=") ? 0 : O_DSYNC);

    snprintf(path, sizeof(path), "/dev/vd%c", letter);
    for (;;) {
        if (!stat(path, &found) && S_ISBLK(found.st_mode)) {
            int fd = open(path, flags);
            if (fd >= 0)
                return fd;
        }
        usleep(10000);
    }
}

static void make_gate(void)
{
    pthread_rwlockattr_t how;

    gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (gate == MAP_FAILED)
        _exit(1);
    pthread_rwlockattr_init(&how);
    pthread_rwlockattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    /* else many writers would never let the gate be closed */
    pthread_rwlockattr_setkind_np(
        &how, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(gate, &how);
}

static ssize_t write_at(int fd, const void *buffer, size_t length, off_t at)
{
    ssize_t written;

    pthread_rwlock_rdlock(gate);
    written = pwrite(fd, buffer, length, at);
    pthread_rwlock_unlock(gate);
    return written;
}

static int on_range(int fd, unsigned long request, uint64_t at,
                    uint64_t length)
{
    uint64_t range[2] = {at, length};
    int failed;

    pthread_rwlock_rdlock(gate);
    failed = ioctl(fd, request, range);
    pthread_rwlock_unlock(gate);
    return failed;
}

static void take_orders(void)
{
    int quiet = 0;
    char order;
    struct termios how;
    int fd = open("/dev/ttyS1", O_RDONLY | O_NOCTTY);

    if (fd < 0)
        return;
    tcgetattr(fd, &how);
    cfmakeraw(&how);
    tcsetattr(fd, TCSANOW, &how);
    while (read(fd, &order, 1) == 1) {
        if (order == 'q') {
            if (!quiet)
                pthread_rwlock_wrlock(gate);
            quiet = 1;
            say("quiet\n");
        } else if (order == 'g') {
            if (quiet)
                pthread_rwlock_unlock(gate);
            quiet = 0;
            say("going\n");
        } else if (order == 'r') {
            reboot(RB_AUTOBOOT);
        } else if (order == 'o') {
            reboot(RB_POWER_OFF);
        } else if (order == 'c') {
            _exit(1); /* the kernel panics without its init */
        }
    }
}

static uint64_t random_state;

static uint64_t random_below(uint64_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

static uint64_t random_length(uint64_t least, uint64_t most)
{
    return least + random_below((most - least) / SECTOR + 1) * SECTOR;
}

static uint64_t size_of(int fd)
{
    uint64_t size = 0;

    if (ioctl(fd, BLKGETSIZE64, &size))
        _exit(1);
    return size;
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
        while (write_at(fd, buffer, RECORD, at) != RECORD) {
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
        if (write_at(fd, buffer, BLOCK, begin + n * BLOCK % length) != BLOCK)
            usleep(100000);
        usleep(BLOCK * 1000000ULL / rate);
    }
}

/* one operation of chaos; what it was, or NULL if its place was no good */
static const char *disturb(int fd, uint64_t n, uint64_t size, uint64_t *buffer,
                           int *failed)
{
    uint64_t begin = parameter("nbc.offset=");
    uint64_t end = begin + parameter("nbc.length=");
    uint64_t kind = random_below(100), at, length, unit;
    const char *what;

    if (kind < 25) {
        what = "run"; /* a long one, as files of a guest are */
        length = random_length(LONG, LONGEST);
    } else if (kind < 45) {
        what = "sector";
        length = SECTOR;
    } else if (kind < 65) {
        what = "sectors";
        length = random_length(SECTOR, 128 * SECTOR);
    } else if (kind < 75) {
        what = "zeroes";
        length = random_length(SECTOR, LONG);
    } else if (kind < 88 && parameter("nbc.discards=")) {
        what = "discard";
        length = random_length(SECTOR, LONG);
    } else {
        what = "zeroout";
        length = random_length(SECTOR, LONG);
    }
    unit = random_below(2) ? PAGE : SECTOR;
    at = random_below(size / unit) * unit;
    if (at + length > size || (at < end && at + length > begin))
        return NULL;
    if (!strcmp(what, "discard")) {
        *failed = on_range(fd, BLKDISCARD, at, length);
    } else if (!strcmp(what, "zeroout")) {
        *failed = on_range(fd, BLKZEROOUT, at, length);
    } else {
        uint64_t word = *what == 'z' ? 0 : n << 20 | 1;

        for (uint64_t i = 0; i < length / 8; i++)
            buffer[i] = word ? word + i * 2 : 0;
        *failed = write_at(fd, buffer, length, at) != (ssize_t)length;
    }
    return what;
}

static void make_chaos(char letter)
{
    useconds_t interval = parameter("nbc.chaos=");
    uint64_t *buffer;
    char line[64];
    int fd = open_disk(letter);
    uint64_t size = size_of(fd);

    random_state = 88172645463325252ULL + letter * 7919;
    if (posix_memalign((void **)&buffer, PAGE, LONGEST))
        _exit(1);
    for (uint64_t n = 1;; n++) {
        int failed = 0;
        const char *what = NULL;

        while (!what)
            what = disturb(fd, n, size, buffer, &failed);
        if (failed) {
            snprintf(line, sizeof(line), "e %c %llu %s %d\n", letter,
                     (unsigned long long)n, what, errno);
            say(line);
            usleep(100000);
        }
        if (n % REPORT == 0) {
            snprintf(line, sizeof(line), "c %c %llu\n", letter,
                     (unsigned long long)n);
            say(line);
        }
        usleep(interval);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void read_anywhere(char letter)
{
    useconds_t interval = parameter("nbc.reader=");
    uint64_t *buffer, reported = now_ns();
    char line[64];
    int fd = open_disk(letter);
    uint64_t size = size_of(fd);

    random_state = 1234567 + letter;
    if (posix_memalign((void **)&buffer, PAGE, PAGE))
        _exit(1);
    for (uint64_t n = 1;; n++) {
        if (pread(fd, buffer, PAGE, random_below(size / PAGE) * PAGE) != PAGE) {
            snprintf(line, sizeof(line), "e %c %llu read %d\n", letter,
                     (unsigned long long)n, errno);
            say(line);
            usleep(100000);
        }
        if (now_ns() - reported >= REPORT_NS) {
            snprintf(line, sizeof(line), "r %c %llu\n", letter,
                     (unsigned long long)n);
            say(line);
            reported = now_ns();
        }
        if (interval > 1)
            usleep(interval);
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
    make_gate();
    disks = parameter("nbc.disks=");
    for (unsigned long long i = 0; i < disks; i++) {
        if (!fork()) {
            write_records('a' + i);
            for (;;)
                pause();
        }
        if (parameter("nbc.load=") && !fork())
            write_load('a' + i);
        if (parameter("nbc.chaos=") && !fork())
            make_chaos('a' + i);
        if (parameter("nbc.reader=") && !fork())
            read_anywhere('a' + i);
    }
    take_orders();
    for (;;)
        pause();
}
