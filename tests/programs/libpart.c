// A library for dlopen: its one function is named by the build (-DPART=burn_in_a).
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI void PART(void) { for (int i = 0; i < 3000000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI void part(void) { PART(); sink++; }
