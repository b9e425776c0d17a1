// Forks RATE children a second, without exec, until it is killed: each computes 2, 3, 4 or 5 ms in short_work and asks for no
// clock meanwhile, for that would have the scheduler bring its account up to date: forks RATE
#include <stdint.h>
#include <stdlib.h>
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
NI static void short_work(uint64_t rounds) {
  for (uint64_t i = 0; i < rounds; i++) sink += (unsigned long)i ^ (sink >> 3);
}
static uint64_t rounds_per_ms(void) {
  const uint64_t rounds = 5000000, before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  short_work(rounds);
  return rounds * 1000000u / (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before);
}
int main(int count, char **words) {
  if (count < 2) return 2;
  uint64_t per_ms = rounds_per_ms(), rate = strtoull(words[1], 0, 10), start = clock_ns(CLOCK_MONOTONIC);
  for (uint64_t i = 0;; i++) {
    uint64_t due = start + i * 1000000000u / rate;
    struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
    if (!fork()) {
      short_work((2 + i % 4) * per_ms);
      _exit(0);
    }
    while (waitpid(-1, 0, WNOHANG) > 0) {}
  }
}
