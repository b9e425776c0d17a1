// Starts RATE children a second for SECONDS, each of which execs this program again and computes MS of CPU in short_work.
// Prints the children's CPU time, by the kernel's account, in ns: churn RATE MS SECONDS
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
NI static void short_work(uint64_t ns) {
  while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < ns) for (int i = 0; i < 5000; i++) sink += (unsigned long)i ^ (sink >> 3);
}
static void reap(int flags, unsigned *running) {
  while (waitpid(-1, 0, flags) > 0) --*running;
}
int main(int count, char **words) {
  if (count == 3 && !strcmp(words[1], "child")) {
    short_work(strtoull(words[2], 0, 10) * 1000000u);
    return 0;
  }
  if (count < 4) return 2;
  uint64_t rate = strtoull(words[1], 0, 10), total = rate * strtoull(words[3], 0, 10), start = clock_ns(CLOCK_MONOTONIC);
  unsigned running = 0;
  for (uint64_t i = 0; i < total; i++) {
    uint64_t due = start + i * 1000000000u / rate;
    struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
    if (!fork()) {
      execl(words[0], words[0], "child", words[2], (char *)0);
      _exit(1);
    }
    running++;
    reap(WNOHANG, &running);
  }
  reap(0, &running);
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  printf("%llu\n", (unsigned long long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
                       (unsigned long long)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u);
  return (int)running;
}
