// Executes itself again after each stage: stages MS STAGE. stage_0 computes MS, then exec as stage 1, at last stage_2 for ever.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}
NI static void stage_0(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static void stage_1(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 4); }
NI static void stage_2(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 5); }
int main(int count, char **words) {
  if (count < 3) return 2;
  int stage = atoi(words[2]);
  uint64_t end = now_ms() + strtoull(words[1], 0, 10);
  while (stage > 1 || now_ms() < end) {
    if (stage == 0) stage_0();
    else if (stage == 1) stage_1();
    else stage_2();
    sink++;
  }
  char next[16];
  snprintf(next, sizeof next, "%d", stage + 1);
  execl("/proc/self/exe", words[0], words[1], next, (char *)0);
  return 3;
}
