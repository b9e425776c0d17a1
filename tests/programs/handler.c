// A signal handler on the ordinary stack, a third of the CPU: handler_work <- on_timer <- (signal frame) <- interrupted <- main.
#include <signal.h>
#include <sys/time.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void handler_work(void) { for (int i = 0; i < 700000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static void on_timer(int number) { handler_work(); sink += (unsigned long)number; }
NI static void interrupted(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 5); }
int main(void) {
  struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, 0);
  struct itimerval every = {{0, 5000}, {0, 5000}};
  setitimer(ITIMER_REAL, &every, 0);
  for (;;) {
    interrupted();
    sink++;
  }
}
