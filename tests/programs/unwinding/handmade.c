// Calls what handmade.S has, each function from one of its own name, in turn: NAME <- call_NAME <- main.
#define NI __attribute__((noinline, noclone))
#define EACH(X) X(indexed) X(in_structure) X(rbp_elsewhere) X(address_elsewhere) X(inner) X(by_call) X(by_convention)
static volatile unsigned long sink;
#define DECLARE(name)                                            \
  unsigned long name(unsigned long);                             \
  NI static void call_##name(void) {                             \
    volatile char *room = __builtin_alloca((sink & 15) + 16);    \
    room[0] = 1;                                                 \
    sink += name(30000) + (unsigned long)room[0];                \
  }
EACH(DECLARE)
int main(void) {
  for (;;) {
#define CALL(name) call_##name();
    EACH(CALL)
  }
}
