// Threads whose stacks are not in one piece: one sleeps in a signal's handler on a stack of its own, one below 300 KiB of frames.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static atomic_int sleeping;
static volatile unsigned long sink;
NI static void stand(void) { sleeping++; for (;;) pause(); }
NI static void in_handler(void) { stand(); sink++; }
NI static void on_signal(int number) { in_handler(); sink += (unsigned long)number; }
NI static void interrupted(void) { raise(SIGUSR1); sink++; }
static void *on_interrupted(void *own) {
  stack_t other = {.ss_sp = own, .ss_size = 64 << 10};
  if (sigaltstack(&other, 0)) exit(4);
  interrupted();
  return own;
}
NI static void down(int frames) {
  volatile char room[2000];
  room[0] = 1;
  if (frames > 0) down(frames - 1); else stand();
  sink += (unsigned long)room[0];
}
NI static void deep(void) { down(150); sink++; }
static void *on_deep(void *x) { deep(); return x; }
int main(void) {
  pthread_t thread;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  if (sigaction(SIGUSR1, &action, 0)) return 2;
  // Signal stacks above and below the threads' own.
  void *stacks[] = {malloc(64 << 10), malloc(64 << 20)};
  for (int i = 0; i < 2; i++)
    if (pthread_create(&thread, 0, on_interrupted, stacks[i]) || pthread_create(&thread, 0, on_deep, 0)) return 3;
  while (sleeping < 4) usleep(1000);
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}
