// One line in: 20 times each, a thread writes to a pipe, and to a file, from a page that comes 10 ms late, and holds the kernel's lock of
// that so long; another one writes there meanwhile. Prints `KIND ns`, what the other one waited, and `done`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NI __attribute__((noinline, noclone))
enum { PAGE = 4096, ROUNDS = 20 };

static int handler, ends[2], file;
static char *late;
static sem_t held, begin, over;
static volatile long sink;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// Brings the page, late: whoever touches it has a lock by then.
static void *bring(void *a) {
    struct uffd_msg message;
    struct timespec pause = {0, 10000000};
    while (read(handler, &message, sizeof message) == sizeof message) {
        struct uffdio_zeropage zero = {.range = {(uintptr_t)late, PAGE}};
        sem_post(&held);
        nanosleep(&pause, 0);
        if (ioctl(handler, UFFDIO_ZEROPAGE, &zero)) exit(7);
    }
    return a;
}

NI static void release_kernel_mutex(void) { sink += write(ends[1], late, 1); }
NI static void release_kernel_rwsem(void) { sink += pwrite(file, late, 1, 0); }
NI static void wait_kernel_mutex(void) { sink += write(ends[1], "x", 1); }
NI static void wait_kernel_rwsem(void) { sink += pwrite(file, "x", 1, 0); }

static void *hold(void *release) {
    for (int i = 0; i < ROUNDS; i++) {
        sem_wait(&begin);
        if (madvise(late, PAGE, MADV_DONTNEED)) exit(6);
        ((void (*)(void))release)();
        sem_post(&over);
    }
    return 0;
}

static long long turn(void (*release)(void), void (*wait)(void)) {
    pthread_t holder;
    char drained[2];
    long long waited = 0;
    pthread_create(&holder, 0, hold, (void *)release);
    for (int i = 0; i < ROUNDS; i++) {
        sem_post(&begin);
        sem_wait(&held);
        long long from = now();
        wait();
        waited += now() - from;
        sem_wait(&over);
        sink += read(ends[0], drained, 2);
    }
    pthread_join(holder, 0);
    return waited;
}

int main(int argc, char **argv) {
    char line[16];
    pthread_t bringer;
    late = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handler = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {.range = {(uintptr_t)late, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (handler < 0 || ioctl(handler, UFFDIO_API, &api) || ioctl(handler, UFFDIO_REGISTER, &range)) return 5;
    // The pipe is empty when nothing was written to it.
    if (pipe2(ends, O_NONBLOCK) || (file = memfd_create("file", 0)) < 0) return 4;
    sem_init(&held, 0, 0);
    sem_init(&begin, 0, 0);
    sem_init(&over, 0, 0);
    if (pthread_create(&bringer, 0, bring, 0)) return 3;
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("mutex %lld\n", turn(release_kernel_mutex, wait_kernel_mutex));
        printf("rwsem %lld\ndone\n", turn(release_kernel_rwsem, wait_kernel_rwsem));
        fflush(stdout);
    }
    (void)argc;
    (void)argv;
}
