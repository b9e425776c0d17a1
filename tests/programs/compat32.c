// A 32-bit program without any library: computes for ever. Built with -m32 -static -nostdlib.
static volatile unsigned sink;
__attribute__((noinline)) static void burn32(void) { for (unsigned i = 0; i < 20000; i++) sink += i ^ (sink >> 3); }
void _start(void) {
  for (;;) burn32();
}
