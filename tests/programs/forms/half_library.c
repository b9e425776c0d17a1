// The library of half_main.c. Its table makes the read-only part large, so that offsets and addresses differ.
#define NI __attribute__((noinline, noclone, used))
static volatile unsigned long sink;
static const volatile unsigned char table[70001] = {1, 2, 3};
NI static void decoy_before(void) { for (int i = 0; i < 20000; i++) sink += i ^ (sink >> 2); }
NI static void half_hot(void) { for (int i = 0; i < 20000; i++) sink += i ^ (sink >> 3); }
NI static void decoy_after(void) { for (int i = 0; i < 20000; i++) sink += i ^ (sink >> 4); }
NI void half_entry(void) {
  half_hot();
  sink += table[sink % 70001];
}
