// The group's leader exits; a thread goes on: orphan_work <- orphan_main.
#include <pthread.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void orphan_work(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static void *orphan_main(void *unused) {
  for (;;) {
    orphan_work();
    sink++;
  }
  return unused;
}
int main(void) {
  pthread_t thread;
  if (pthread_create(&thread, 0, orphan_main, 0)) return 2;
  pthread_exit(0);
}
