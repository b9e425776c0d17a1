// setjmp and longjmp: over 20 levels of hop() from hop_leaf() back to jumper(), and to and fro in bounce(), all below main.
#include <setjmp.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static jmp_buf place;
NI static void hop_leaf(void) {
  for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3);
  longjmp(place, 1);
}
NI static int hop(int level) {
  if (level > 1) sink += (unsigned long)hop(level - 1);
  else hop_leaf();
  return (int)sink & 1;
}
NI static void jumper(void) {
  if (!setjmp(place)) sink += (unsigned long)hop(20);
  sink++;
}
NI static void bounce(void) {
  volatile int left = 2000;
  setjmp(place);
  if (--left) longjmp(place, 1);
  sink++;
}
int main(void) {
  for (;;) {
    jumper();
    bounce();
  }
}
