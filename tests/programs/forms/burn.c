// leaf <- middle <- outer <- main, with an inlined call in the leaf: one program that is built in many forms.
#include <stdint.h>
#define NI __attribute__((noinline, noclone))
volatile uint64_t sink;
static inline __attribute__((always_inline)) uint64_t inlined_leaf(uint64_t n) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < n; i++) sum += (i * i) ^ sum; // IN inlined_leaf
  return sum;
}
NI void leaf(uint64_t n) {
  sink += inlined_leaf(n); // IN leaf
}
NI void middle(uint64_t n) {
  leaf(n);
  sink++;
}
NI void outer(uint64_t n) {
  middle(n);
  sink++;
}
int main(void) {
  for (;;) outer(20000);
}
