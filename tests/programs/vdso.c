// Almost all the time is in the vDSO's clock: __vdso_clock_gettime <- (libc) <- vdso_caller <- main.
#include <time.h>
#define NI __attribute__((noinline, noclone))
static volatile long sink;
NI static void vdso_caller(void) {
  struct timespec t;
  for (int i = 0; i < 1000; i++) clock_gettime(CLOCK_MONOTONIC, &t);
  sink += t.tv_nsec;
}
int main(void) {
  for (;;) vdso_caller();
}
