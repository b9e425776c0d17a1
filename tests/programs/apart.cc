// Two units: with WHEEL the one whose member `grind` holds `turn` inlined, without it the one whose `main` calls it for ever.
// STAMP names a type that tells one build from another.
#ifdef STAMP
typedef int STAMP;
STAMP stamped __attribute__((weak));
#endif
namespace mill {
class Wheel {
public:
  __attribute__((noinline)) unsigned long grind(int rounds);

private:
  __attribute__((always_inline)) void turn(int i) { stones += i ^ (stones >> 3); }
  volatile unsigned long stones = 1;
};
} // namespace mill

#ifdef WHEEL
unsigned long mill::Wheel::grind(int rounds) {
  for (int i = 0; i < rounds; i++)
    turn(i);
  return stones;
}
#else
int main() {
  mill::Wheel wheel;
  for (volatile unsigned long flour = 0;;)
    flour += wheel.grind(20000);
}
#endif
