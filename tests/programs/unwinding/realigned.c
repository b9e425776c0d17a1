// Functions that realign their stack, each in its own way: leaf <- nested <- with_vector <- with_alloca <- forced <- main.
#include <alloca.h>
#include <string.h>
#define NI __attribute__((noinline, noclone))
typedef double vector __attribute__((vector_size(32)));
static volatile unsigned long sink;
static void *volatile escaped;
NI static void leaf(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI __attribute__((target("avx"))) static double with_vector(int n) {
  volatile vector local = {n, 2, 3, 4};
  // A function in a function takes the frame of the outer one in a register that realigning would use.
  NI double nested(int factor) {
    char wide[128] __attribute__((aligned(64)));
    memset(wide, factor, sizeof wide);
    escaped = wide;
    leaf();
    return local[1] * factor + n;
  }
  double sum = nested(n);
  escaped = (void *)&local;
  return sum + local[0];
}
NI __attribute__((target("avx"))) static double with_alloca(int n) {
  vector local = {1, 2, 3, 4};
  escaped = alloca((unsigned long)(n & 63) + 16);
  escaped = &local;
  double sum = with_vector(n);
  return sum + local[2];
}
NI __attribute__((force_align_arg_pointer)) static double forced(int a, int b, int c, int d, int e, int f, int g, int h) {
  char wide[64] __attribute__((aligned(64)));
  escaped = wide;
  double sum = with_alloca(a + b + c + d + e + f + g + h);
  return sum + wide[3];
}
int main(void) {
  for (int i = 0;; i++) sink += (unsigned long)forced(i, 2, 3, 4, 5, 6, 7, i) & 1;
}
