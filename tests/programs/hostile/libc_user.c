// Spends its time in a function of libc: memfrob <- use_libc <- main.
#define _GNU_SOURCE
#include <string.h>
#define NI __attribute__((noinline, noclone))
static char bytes[1 << 16];
static volatile unsigned long sink;
NI static void use_libc(void) { memfrob(bytes, sizeof bytes); sink++; }
int main(void) { for (;;) { use_libc(); sink++; } }
