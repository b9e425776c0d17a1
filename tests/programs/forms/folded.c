// Two functions of equal code, which a linker may fold into one: twin_1 <- first <- main and twin_2 <- second <- main.
#include <stdint.h>
#define NI __attribute__((noinline))
volatile uint64_t sink;
NI void twin_1(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) sink += i ^ (sink >> 3);
}
NI void twin_2(uint64_t n) {
  for (uint64_t i = 0; i < n; i++) sink += i ^ (sink >> 3);
}
NI void first(uint64_t n) {
  twin_1(n);
  sink += 1;
}
NI void second(uint64_t n) {
  twin_2(n);
  sink += 2;
}
int main(void) {
  for (;;) {
    first(20000);
    second(20000);
  }
}
