// Emits one machine-code loop with a frame pointer and runs it for ever, after it has announced the loop in the perf map of its own
// pid or, if it is given a folder, in a jitdump there: with lines, under another name first, and moved to where it runs.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))

static volatile unsigned long sink;
NI static void run_jit(void (*f)(void)) { f(); sink++; }

static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xb9, 0x80, 0x84, 0x1e, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0x5d, 0xc3};

static void perf_map(uint64_t at) {
  char name[64];
  snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
  FILE *f = fopen(name, "w");
  fprintf(f, "%lx 800 jit_cold_start\n%lx %zx jit_hot_kernel\n", at - 4096, at, sizeof code);
  fclose(f);
}

static void put(FILE *f, uint64_t value, size_t bytes) { fwrite(&value, bytes, 1, f); }

static void record(FILE *f, uint32_t id, uint32_t bytes) {
  put(f, id, 4);
  put(f, 16 + bytes, 4);
  put(f, 0, 8);
}

static void load(FILE *f, uint64_t index, uint64_t at, const char *name) {
  record(f, 0, 40 + strlen(name) + 1 + sizeof code);
  uint64_t words[] = {0, at, at, sizeof code, index};
  fwrite(words, sizeof words, 1, f);
  fwrite(name, strlen(name) + 1, 1, f);
  fwrite(code, sizeof code, 1, f);
}

static void jit_dump(const char *folder, uint64_t at) {
  char name[4096];
  snprintf(name, sizeof name, "%s/jit-%d.dump", folder, getpid());
  FILE *f = fopen(name, "w+");
  uint32_t header[] = {0x4a695444, 1, 40, 62, 0, getpid(), 0, 0, 0, 0};
  fwrite(header, sizeof header, 1, f);
  load(f, 1, at, "stale");
  // The loop is two instructions from offset 9 on, line 7 of its source.
  uint64_t before = at - 2048;
  const char source[] = "/src/made.jit";
  record(f, 2, 16 + 2 * (16 + sizeof source));
  put(f, before, 8);
  put(f, 2, 8);
  for (int i = 0; i < 2; i++) {
    put(f, before + (i ? 9 : 0), 8);
    put(f, i ? 7 : 5, 4);
    put(f, 0, 4);
    fwrite(source, sizeof source, 1, f);
  }
  record(f, 4, 24); // unwind information, of no use
  for (int i = 0; i < 3; i++) put(f, 0, 8);
  load(f, 2, before, "dumped_hot_kernel");
  record(f, 1, 48);
  uint64_t moved[] = {0, at, before, at, sizeof code, 2};
  fwrite(moved, sizeof moved, 1, f);
  put(f, 0, 4); // a record that is being written
  fflush(f);
  mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(f), 0);
}

int main(int count, char **words) {
  unsigned char *m = mmap(0, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(m + 4096, code, sizeof code);
  if (count > 1) jit_dump(words[1], (uint64_t)m + 4096);
  else perf_map((uint64_t)m + 4096);
  puts("ready");
  fflush(stdout);
  for (;;) { run_jit((void (*)(void))(m + 4096)); sink++; }
}
