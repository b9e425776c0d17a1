// Two threads on one CPU hand over to each other, by `pipe` or by `futex` (argv[1]). One line in: a turn of BATCHES batches, and a line
// with the CPU ns per switch of the process in its twentieth best batch of a hundred.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 100
#define ROUNDS 500

static int by_pipe, there[2], back[2];
static sem_t to, fro;

static void hand(int fd, sem_t *semaphore) {
    char byte = 0;
    if (by_pipe ? write(fd, &byte, 1) != 1 : sem_post(semaphore)) abort();
}

static void take(int fd, sem_t *semaphore) {
    char byte;
    if (by_pipe ? read(fd, &byte, 1) != 1 : sem_wait(semaphore)) abort();
}

static void *other(void *a) {
    for (;;) {
        take(there[0], &to);
        hand(back[1], &fro);
    }
    return a;
}

static long long used(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
    return x < y ? -1 : x > y;
}

int main(int words, char **word) {
    char line[16];
    long long batch[BATCHES];
    cpu_set_t one;
    pthread_t thread;
    if (words < 2) return 2;
    by_pipe = !strcmp(word[1], "pipe");
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof one, &one) || pipe(there) || pipe(back)) return 3;
    sem_init(&to, 0, 0);
    sem_init(&fro, 0, 0);
    if (pthread_create(&thread, 0, other, 0)) return 3;
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        for (int i = 0; i < BATCHES; i++) {
            long long from = used();
            for (int round = 0; round < ROUNDS; round++) {
                hand(there[1], &to);
                take(back[0], &fro);
            }
            batch[i] = (used() - from) / (2 * ROUNDS);
        }
        qsort(batch, BATCHES, sizeof *batch, ascending);
        printf("%lld\n", batch[BATCHES / 5]);
        fflush(stdout);
    }
}
