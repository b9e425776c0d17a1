// Contexts: fiber_main() runs on a stack of its own, which ends there, and returns to main by its link; again() goes round by
// getcontext and setcontext below main.
#include <ucontext.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static ucontext_t back, fiber;
static char stack[1 << 16];
NI static void fiber_leaf(void) { for (int i = 0; i < 30000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static int fiber_down(int level) {
  if (level > 1) sink += (unsigned long)fiber_down(level - 1);
  else fiber_leaf();
  return (int)sink & 1;
}
static void fiber_main(void) {
  sink += (unsigned long)fiber_down(8);
  sink++;
}
NI static void again(void) {
  ucontext_t here;
  volatile int left = 300;
  getcontext(&here);
  if (--left) setcontext(&here);
  sink++;
}
int main(void) {
  for (;;) {
    getcontext(&fiber);
    fiber.uc_stack.ss_sp = stack;
    fiber.uc_stack.ss_size = sizeof stack;
    fiber.uc_link = &back;
    makecontext(&fiber, fiber_main, 0);
    swapcontext(&back, &fiber);
    again();
  }
}
