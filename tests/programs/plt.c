// Calls a tiny function of a library through its PLT stub: tiny or the stub <- plt_caller <- main.
#define NI __attribute__((noinline, noclone))
unsigned long tiny(unsigned long);
static volatile unsigned long sink;
NI static void plt_caller(void) { for (int i = 0; i < 100000; i++) sink = tiny(sink); }
int main(void) {
  for (;;) plt_caller();
}
