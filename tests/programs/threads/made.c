// Threads from two functions: made MORE. `make_three` makes three and `make_two` two, `make_more` as many as a byte on its input
// asks for; all of them wait in functions of their own. Prints `ready` when those exist.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void wait_as_three(void) { for (;;) pause(); }
NI static void wait_as_two(void) { for (;;) { pause(); sink++; } }
static void *on_three(void *x) { wait_as_three(); sink++; return x; }
static void *on_two(void *x) { wait_as_two(); sink++; return x; }
NI static void make(void *(*what)(void *), int count) {
  pthread_t thread;
  for (int i = 0; i < count; i++)
    if (pthread_create(&thread, 0, what, 0)) exit(3);
  sink++;
}
NI static void make_three(void) { make(on_three, 3); sink++; }
NI static void make_two(void) { make(on_two, 2); sink++; }
int main(void) {
  make_three();
  puts("ready");
  fflush(stdout);
  for (int byte; (byte = getchar()) != EOF;)
    if (byte == '3') make_three();
    else if (byte == '2') make_two();
  for (;;) pause();
}
