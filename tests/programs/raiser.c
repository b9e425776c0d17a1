// Raises a signal and handles it without pause, below 12 calls: many samples fall where the kernel prepares the handler or puts
// the registers back.
#include <signal.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void on_signal(int number) { for (int i = 0; i < 300; i++) sink += (unsigned long)(i + number); }
NI static void raise_for_ever(int level) {
  if (level > 0) raise_for_ever(level - 1);
  else for (;;) raise(SIGUSR1);
  sink++;
}
int main(void) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, 0);
  raise_for_ever(12);
}
