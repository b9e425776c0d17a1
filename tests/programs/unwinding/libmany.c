// 256 functions that a library calls through its procedure linkage table, each bound when it is called for the first time.
#define FOUR(X, n) X(n##0) X(n##1) X(n##2) X(n##3)
#define SIXTEEN(X, n) FOUR(X, n##0) FOUR(X, n##1) FOUR(X, n##2) FOUR(X, n##3)
#define EACH(X) SIXTEEN(X, 0) SIXTEEN(X, 1) SIXTEEN(X, 2) SIXTEEN(X, 3) \
                SIXTEEN(X, 4) SIXTEEN(X, 5) SIXTEEN(X, 6) SIXTEEN(X, 7) \
                SIXTEEN(X, 8) SIXTEEN(X, 9) SIXTEEN(X, a) SIXTEEN(X, b) \
                SIXTEEN(X, c) SIXTEEN(X, d) SIXTEEN(X, e) SIXTEEN(X, f)
#define DEFINE(n) __attribute__((noinline, noclone)) unsigned long a_function_with_a_long_name_##n(unsigned long x) { return x + 0x1##n; }
EACH(DEFINE)
unsigned long many(unsigned long x) {
#define CALL(n) x = a_function_with_a_long_name_##n(x);
  EACH(CALL)
  return x + 1;
}
