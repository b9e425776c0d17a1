// Threads that stand: stand WAITERS SPINNERS. WAITERS threads in each of four waits (a mutex, a condition variable, sleep,
// epoll), SPINNERS that compute. Prints `ready` once all stand, and at the end of its input how many calls returned EINTR.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static atomic_long interrupted, begun;
static volatile unsigned long sink;
NI static void wait_mutex(void) { begun++; pthread_mutex_lock(&held); sink++; }
NI static void wait_condition(void) {
  pthread_mutex_lock(&guard);
  begun++;
  for (;;) pthread_cond_wait(&never, &guard);
}
NI static void wait_sleep(void) {
  begun++;
  for (struct timespec day = {86400, 0};;)
    if (nanosleep(&day, 0) && errno == EINTR) interrupted++;
}
NI static void wait_epoll(void) {
  int poll = epoll_create1(0);
  struct epoll_event event;
  begun++;
  for (;;)
    if (epoll_wait(poll, &event, 1, -1) < 0 && errno == EINTR) interrupted++;
}
NI static void spin(void) { begun++; for (;;) sink++; }
static void *on_mutex(void *x) { wait_mutex(); sink++; return x; }
static void *on_condition(void *x) { wait_condition(); sink++; return x; }
static void *on_sleep(void *x) { wait_sleep(); sink++; return x; }
static void *on_epoll(void *x) { wait_epoll(); sink++; return x; }
static void *on_spin(void *x) { spin(); sink++; return x; }
int main(int words, char **word) {
  if (words < 3) return 2;
  long waiters = atol(word[1]), spinners = atol(word[2]);
  void *(*waits[])(void *) = {on_mutex, on_condition, on_sleep, on_epoll};
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 << 10);
  pthread_mutex_lock(&held);
  pthread_t thread;
  for (long i = 0; i < waiters * 4; i++)
    if (pthread_create(&thread, &small, waits[i % 4], 0)) return 3;
  for (long i = 0; i < spinners; i++)
    if (pthread_create(&thread, &small, on_spin, 0)) return 3;
  while (begun < waiters * 4 + spinners) usleep(1000);
  usleep(100000);
  puts("ready");
  fflush(stdout);
  while (getchar() != EOF) {}
  printf("%ld interrupted\n", interrupted);
  return 0;
}
