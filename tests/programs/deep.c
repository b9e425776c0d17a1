// Recursion of argv[1] levels: deep_leaf <- deep (that often) <- main.
#include <stdlib.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void deep_leaf(void) { for (int i = 0; i < 3000000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static void deep(int level) {
  if (level > 1) deep(level - 1); else deep_leaf();
  sink++;
}
int main(int count, char **words) {
  if (count < 2) return 2;
  for (;;) deep(atoi(words[1]));
}
