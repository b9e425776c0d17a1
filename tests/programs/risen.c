// Its file gives it rights of its own. It computes in risen_up; told "drop", it gives the rights up and goes on in
// fallen_down. Without them it computes in never_rose.
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void burn(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static void risen_up(void) { for (;;) { burn(); sink++; } }
NI static void fallen_down(void) { for (;;) { burn(); sink++; } }
NI static void never_rose(void) { for (;;) { burn(); sink++; } }
int main(int count, char **words) {
  if (geteuid() == getuid()) never_rose();
  if (count > 1 && !strcmp(words[1], "drop") && !setresuid(getuid(), getuid(), getuid())) fallen_down();
  risen_up();
}
