// Moves its own text into anonymous memory at the same addresses, as programs do that want huge pages for it, then
// leaf <- middle <- outer <- main as in burn.c. argv[1]: "whole", or "middle" to leave the first and the last page.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#define NI __attribute__((noinline, noclone))
enum { PAGE = 4096 };
volatile uint64_t sink;
// On a page behind the first one, and with a frame of its own where frames are kept.
__attribute__((aligned(8192))) NI void leaf(uint64_t n) {
#ifdef FRAMES
  sink += (uintptr_t)__builtin_frame_address(0);
#endif
  for (uint64_t i = 0; i < n; i++) sink += i ^ (sink >> 3);
}
NI void middle(uint64_t n) {
  leaf(n);
  sink++;
}
NI void outer(uint64_t n) {
  middle(n);
  sink++;
}
// The pages of the executable mapping that holds `address`.
static void text(uintptr_t address, uintptr_t *start, uintptr_t *end) {
  char line[512], rights[8];
  FILE *maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx %7s", start, end, rights) == 3 && *start <= address && address < *end) break;
  fclose(maps);
}
int main(int count, char **words) {
  uintptr_t start, end;
  text((uintptr_t)leaf, &start, &end);
  if (count > 1 && !strcmp(words[1], "middle")) start += PAGE, end -= PAGE;
  void *copy = mmap(0, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(copy, (void *)start, end - start);
  mprotect(copy, end - start, PROT_READ | PROT_EXEC);
  if (mremap(copy, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start) == MAP_FAILED) return 1;
  puts("ready");
  fflush(stdout);
  for (;;) outer(20000);
}
