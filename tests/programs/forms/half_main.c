// Computes in itself and in a library, in equal parts: own_hot <- own_caller <- main, half_hot <- half_entry <- main.
#define NI __attribute__((noinline, noclone, used))
static volatile unsigned long sink;
void half_entry(void);
NI static void decoy_before(void) { for (int i = 0; i < 20000; i++) sink += i ^ (sink >> 2); }
NI static void own_hot(void) { for (int i = 0; i < 20000; i++) sink += i ^ (sink >> 3); }
NI static void decoy_after(void) { for (int i = 0; i < 20000; i++) sink += i ^ (sink >> 4); }
NI static void own_caller(void) { own_hot(); sink++; }
int main(void) {
  for (;;) {
    own_caller();
    half_entry();
    sink++;
  }
}
