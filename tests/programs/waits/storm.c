// One line in: two threads hand over ROUNDS times by semaphores while a third one waits twice 1.4 s for one that nobody
// posts. Prints `rare ns`, what the third measured, `switches N`, how often the kernel saw the two begin to wait, and `done`.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#define NI __attribute__((noinline, noclone))
#define ROUNDS 150000

static sem_t ping, pong, never;
static volatile int sink;
static long long measured;
static long switches[2];

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

NI static void wait_ping(void) { sem_wait(&ping); sink++; }
NI static void wait_pong(void) { sem_wait(&pong); sink++; }

NI static void wait_rare(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec++;
    t.tv_nsec += 400000000;
    if (t.tv_nsec >= 1000000000) { t.tv_nsec -= 1000000000; t.tv_sec++; }
    sem_timedwait(&never, &t);
    sink++;
}

static long waits(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

static void *first(void *a) {
    for (int i = 0; i < ROUNDS; i++) {
        sem_post(&pong);
        wait_ping();
    }
    switches[0] = waits();
    return a;
}

static void *second(void *a) {
    for (int i = 0; i < ROUNDS; i++) {
        wait_pong();
        sem_post(&ping);
    }
    switches[1] = waits();
    return a;
}

static void *third(void *a) {
    long long from = now();
    for (int i = 0; i < 2; i++) wait_rare();
    measured = now() - from;
    return a;
}

int main(void) {
    char line[16];
    void *(*runs[])(void *) = {first, second, third};
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    sem_init(&never, 0, 0);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        pthread_t threads[3];
        for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, runs[i], 0);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
        printf("rare %lld\nswitches %ld\ndone\n", measured, switches[0] + switches[1]);
        fflush(stdout);
    }
}
