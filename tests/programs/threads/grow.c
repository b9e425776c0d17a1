// Threads of three kinds: those that stay, five that end at SIGUSR1, and more and more others: one every 100 ms.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static volatile sig_atomic_t told;
static void tell(int signal) { told = signal; }
NI static void stay(void) { for (;;) pause(); }
NI static void wait_more(void) { for (;;) { pause(); sink++; } }
NI static void wait_less(void) { while (!told) usleep(10000); sink++; }
static void *on_stay(void *x) { stay(); sink++; return x; }
static void *on_more(void *x) { wait_more(); sink++; return x; }
static void *on_less(void *x) { wait_less(); sink++; return x; }
int main(void) {
  pthread_t thread;
  signal(SIGUSR1, tell);
  for (int i = 0; i < 5; i++)
    if (pthread_create(&thread, 0, on_stay, 0) || pthread_create(&thread, 0, on_less, 0)) return 3;
  puts("ready");
  fflush(stdout);
  for (int i = 0; i < 1000; i++) {
    usleep(100000);
    if (pthread_create(&thread, 0, on_more, 0)) return 3;
  }
}
