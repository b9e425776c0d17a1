// The library that is copied: some work, and with -DFUNCTIONS many functions besides, for a table that takes room.
unsigned long spin(unsigned long x) {
  for (long i = 0; i < 300000; i++) x = x * 31 + (x >> 7) + (unsigned long)i;
  return x;
}
#ifdef FUNCTIONS
// Each pushes registers one after the other, so that it has several rows.
#define ONE(n) unsigned long f##n(unsigned long x) { unsigned long a = x ^ n, b = x + n, c = x * n, d = x - n; for (unsigned long i = 0; i < x; i++) { a = f_next(a, b); b = f_next(b, c); c = f_next(c, d); d = f_next(d, a); } return a + b + c + d; }
unsigned long f_next(unsigned long, unsigned long);
#define TEN(n) ONE(n##0) ONE(n##1) ONE(n##2) ONE(n##3) ONE(n##4) ONE(n##5) ONE(n##6) ONE(n##7) ONE(n##8) ONE(n##9)
#define HUNDRED(n) TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)
HUNDRED(1) HUNDRED(2) HUNDRED(3) HUNDRED(4) HUNDRED(5) HUNDRED(6) HUNDRED(7) HUNDRED(8) HUNDRED(9)
unsigned long __attribute__((noinline)) f_next(unsigned long a, unsigned long b) { return a * 31 + b; }
#endif
