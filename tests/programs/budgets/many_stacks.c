// Very many distinct stacks: the bits of a counter say which of two functions calls which, one level each, and the work is done
// at the innermost: leaf <- one_or_zero x 24 <- main. A new stack every few microseconds.
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void leaf(void) { for (int i = 0; i < 200; i++) sink += (unsigned long)i ^ (sink >> 3); }
static void next(unsigned long bits, int level);
NI static void zero(unsigned long bits, int level) { next(bits >> 1, level + 1); sink++; }
NI static void one(unsigned long bits, int level) { next(bits >> 1, level + 1); sink++; }
NI static void next(unsigned long bits, int level) {
  if (level == 24) leaf();
  else if (bits & 1) one(bits, level);
  else zero(bits, level);
  sink++;
}
int main(void) {
  // An odd factor visits all numbers of 24 bits, far from each other.
  for (unsigned long i = 0;; i++) next(i * 9176867, 0);
}
