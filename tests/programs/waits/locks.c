// Waits for locks of every kind that somebody else holds, and measures it. One line in: one turn, and a line `kind ns` for each kind.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NI __attribute__((noinline, noclone))
#define ROUNDS 15

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t of_condition = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static pthread_barrier_t barrier;
static volatile int sink, told, held;

static void sleep_us(long us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, 0);
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

NI static void wait_mutex(void) { pthread_mutex_lock(&mutex); sink++; }
NI static void wait_reader(void) { pthread_rwlock_rdlock(&rwlock); sink++; }
NI static void wait_writer(void) { pthread_rwlock_wrlock(&rwlock); sink++; }
NI static void wait_condition(void) { while (!told) pthread_cond_wait(&condition, &of_condition); sink++; }
NI static void wait_semaphore(void) { sem_wait(&semaphore); sink++; }
NI static void wait_timeout(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 20000000;
    if (t.tv_nsec >= 1000000000) { t.tv_nsec -= 1000000000; t.tv_sec++; }
    sem_timedwait(&semaphore, &t);
    sink++;
}
NI static void wait_barrier(void) { pthread_barrier_wait(&barrier); sink++; }
NI static void wait_join(pthread_t t) { pthread_join(t, 0); sink++; }

NI static void release_mutex(void) { pthread_mutex_unlock(&mutex); sink++; }
NI static void release_rwlock(void) { pthread_rwlock_unlock(&rwlock); sink++; }
NI static void release_condition(void) { pthread_cond_signal(&condition); sink++; }
NI static void release_semaphore(void) { sem_post(&semaphore); sink++; }
NI static void release_barrier(void) { pthread_barrier_wait(&barrier); sink += 2; }

enum { MUTEX, READER, WRITER, CONDITION, SEMAPHORE, BARRIER, JOIN, TIMEOUT, KINDS };
static const char *names[KINDS] = {"mutex", "reader", "writer", "condition", "semaphore", "barrier", "join",
                                   "timeout"};

// Holds what is waited for, 20 ms long, from before the wait begins.
static void *holder(void *a) {
    int kind = (int)(long)a;
    if (kind == MUTEX) pthread_mutex_lock(&mutex);
    if (kind == READER) pthread_rwlock_wrlock(&rwlock);
    if (kind == WRITER) pthread_rwlock_rdlock(&rwlock);
    held = 1;
    sleep_us(20000);
    if (kind == MUTEX) release_mutex();
    if (kind == READER || kind == WRITER) release_rwlock();
    if (kind == CONDITION) {
        pthread_mutex_lock(&of_condition);
        told = 1;
        pthread_mutex_unlock(&of_condition);
        release_condition();
    }
    if (kind == SEMAPHORE) release_semaphore();
    if (kind == BARRIER) release_barrier();
    // The end of this thread is waited for by one kind only.
    if (kind != JOIN) sleep_us(2000);
    return 0;
}

NI static long long turn(int kind) {
    long long sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t t;
        held = told = 0;
        pthread_create(&t, 0, holder, (void *)(long)kind);
        while (!held) sleep_us(200);
        sleep_us(1000);
        if (kind == CONDITION) pthread_mutex_lock(&of_condition);
        long long from = now();
        if (kind == MUTEX) wait_mutex();
        if (kind == READER) wait_reader();
        if (kind == WRITER) wait_writer();
        if (kind == CONDITION) wait_condition();
        if (kind == SEMAPHORE) wait_semaphore();
        if (kind == BARRIER) wait_barrier();
        if (kind == JOIN) wait_join(t);
        if (kind == TIMEOUT) wait_timeout();
        sum += now() - from;
        if (kind == MUTEX) pthread_mutex_unlock(&mutex);
        if (kind == READER || kind == WRITER) pthread_rwlock_unlock(&rwlock);
        if (kind == CONDITION) pthread_mutex_unlock(&of_condition);
        if (kind != JOIN) {
            sleep_us(4000);
            pthread_join(t, 0);
        }
    }
    return sum;
}

int main(void) {
    char line[16];
    sem_init(&semaphore, 0, 0);
    pthread_barrier_init(&barrier, 0, 2);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        for (int kind = 0; kind < KINDS; kind++) printf("%s %lld\n", names[kind], turn(kind));
        printf("done\n");
        fflush(stdout);
    }
}
