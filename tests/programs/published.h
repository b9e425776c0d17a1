// The program's own clock, published: a file that holds, for up to 64 paths, the thread's CPU time spent in each, as a history,
// so that a test can ask for any window afterwards. Layout (u64s): [0] entries written, [1] paths, then a ring of
// entries, each {wall clock in ns, ns per path...}. The writer fills an entry, then raises the count.
#ifndef PUBLISHED_H
#define PUBLISHED_H
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PUBLISHED_ENTRIES = 1 << 16 };

static volatile uint64_t *published;
static unsigned published_paths;
static uint64_t published_total[64];

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t thread_cpu_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

// Call before the first path. `file` must be in a folder that exists.
static void publish_to(const char *file, unsigned paths) {
  size_t bytes = 8 * (2 + (size_t)PUBLISHED_ENTRIES * (1 + paths));
  int f = open(file, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (f < 0 || ftruncate(f, (off_t)bytes)) abort();
  void *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
  if (memory == MAP_FAILED) abort();
  close(f);
  published = (volatile uint64_t *)memory;
  published_paths = paths;
  published[1] = paths;
}

// Adds the CPU time of one slice of `path` and writes an entry.
static void publish(unsigned path, uint64_t ns) {
  published_total[path] += ns;
  uint64_t count = published[0];
  volatile uint64_t *entry = published + 2 + count % PUBLISHED_ENTRIES * (1 + published_paths);
  entry[0] = clock_ns(CLOCK_REALTIME);
  for (unsigned i = 0; i < published_paths; i++) entry[1 + i] = published_total[i];
  __atomic_store_n((uint64_t *)published, count + 1, __ATOMIC_RELEASE);
}
#endif
