// vfork in a loop: the child computes 2 ms in its parent's memory (vfork_child <- vfork_loop <- main), then execs `true`; the parent
// computes as long in vfork_parent.
#define _GNU_SOURCE
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static double cpu_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}
NI static void vfork_child(void) { for (double end = cpu_ms() + 2; cpu_ms() < end;) for (int i = 0; i < 20000; i++) sink += (unsigned long)i; }
NI static void vfork_parent(void) { for (double end = cpu_ms() + 2; cpu_ms() < end;) for (int i = 0; i < 20000; i++) sink ^= (unsigned long)i; }
NI static void vfork_loop(void) {
  pid_t child = vfork();
  if (!child) {
    vfork_child();
    execl("/bin/true", "true", (char *)0);
    _exit(1);
  }
  waitpid(child, 0, 0);
  vfork_parent();
  sink++;
}
int main(void) {
  for (;;) vfork_loop();
}
