// The C library's assembly: copier() calls memcpy, memmove, memset, memcmp and strlen with short and long buffers.
#include <string.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static char one[1 << 16], other[1 << 16];
NI static void copier(unsigned long size) {
  void *(*volatile copy)(void *, const void *, unsigned long) = memcpy;
  void *(*volatile move)(void *, const void *, unsigned long) = memmove;
  void *(*volatile set)(void *, int, unsigned long) = memset;
  int (*volatile compare)(const void *, const void *, unsigned long) = memcmp;
  unsigned long (*volatile length)(const char *) = strlen;
  copy(one, other, size);
  move(one + 7, one, size);
  set(other, 'x', size);
  other[size] = 0;
  sink += (unsigned long)compare(one, other, size) + length(other);
}
int main(void) {
  for (unsigned long i = 0;; i++) copier(i % 4 ? (i * 37) % 300 : 60000);
}
