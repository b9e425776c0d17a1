// Threads that come and go, some hundreds a second, beside ten that stay.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void stay(void) { for (;;) pause(); }
NI static void live_shortly(void) { usleep(10000); sink++; }
static void *on_stay(void *x) { stay(); sink++; return x; }
static void *on_short(void *x) { live_shortly(); sink++; return x; }
int main(void) {
  pthread_t thread;
  for (int i = 0; i < 10; i++)
    if (pthread_create(&thread, 0, on_stay, 0)) return 3;
  puts("ready");
  fflush(stdout);
  for (;;) {
    if (!pthread_create(&thread, 0, on_short, 0)) pthread_detach(thread);
    usleep(3000);
  }
}
