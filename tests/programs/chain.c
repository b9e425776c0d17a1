// Four call chains of known depth that split the CPU 40 : 30 : 20 : 10 and publish how much each really got.
//   chain FILE [thread]       with `thread`, everything runs in `thread_main` instead of `main`
// The functions differ in a constant each, else the compiler would fold them into one. Below the root: spin_D <- descend_D (exactly D times) <- run_D <- main or thread_main.
#include "published.h"
#include <pthread.h>
#include <string.h>
#define NI __attribute__((noinline, noclone))

static volatile unsigned long sink;

#define CHAIN(D)                                                                                     \
  NI static void spin_##D(uint64_t until) {                                                          \
    do                                                                                               \
      for (int i = 0; i < 30000; i++) sink += (unsigned long)(i + D) ^ (sink >> 3);                  \
    while (thread_cpu_ns() < until);                                                                 \
  }                                                                                                  \
  NI static void descend_##D(int level, uint64_t until) {                                            \
    volatile char room[16 + (D % 7) * 24];                                                           \
    room[level & 15] = (char)level;                                                                  \
    if (level > 1) descend_##D(level - 1, until); else spin_##D(until);                              \
    sink += (unsigned long)room[level & 15];                                                         \
  }                                                                                                  \
  NI static void run_##D(unsigned path, uint64_t ns) {                                               \
    uint64_t start = thread_cpu_ns();                                                                \
    descend_##D(D, start + ns);                                                                      \
    publish(path, thread_cpu_ns() - start);                                                          \
  }
CHAIN(10)
CHAIN(40)
CHAIN(120)
CHAIN(600)

static inline __attribute__((always_inline)) void forever(void) {
  for (;;) {
    run_10(0, 4000000);
    run_40(1, 3000000);
    run_120(2, 2000000);
    run_600(3, 1000000);
  }
}

NI static void *thread_main(void *unused) {
  forever();
  return unused;
}

int main(int count, char **words) {
  if (count < 2) return 2;
  publish_to(words[1], 4);
  if (count > 2 && !strcmp(words[2], "thread")) {
    pthread_t thread;
    if (pthread_create(&thread, 0, thread_main, 0)) return 3;
    pthread_join(thread, 0);
  }
  forever();
}
