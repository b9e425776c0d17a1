// One thread that computes in burn_leaf <- burn_inner <- burn_outer <- main: for ever, or for argv[1] ms of CPU time.
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static uint64_t cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
NI static void burn_leaf(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static void burn_inner(void) { burn_leaf(); sink++; }
NI static void burn_outer(void) { burn_inner(); sink++; }
int main(int count, char **words) {
  uint64_t end = count > 1 ? strtoull(words[1], 0, 10) * 1000000u : UINT64_MAX;
  while (count < 2 || cpu_ns() < end) burn_outer();
  return 0;
}
