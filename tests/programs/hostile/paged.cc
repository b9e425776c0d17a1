// A program like others, whose `paged_spin` has two pages for itself, so that what lies around them may be anything.
#define PAGED extern "C" __attribute__((noinline, noclone, used, section(".text.paged"), aligned(4096)))
PAGED void paged_spin(unsigned long turns) { while (turns--) __asm__ volatile(""); }
// Fills the second page.
PAGED void behind() { __asm__ volatile(".skip 4096, 0xcc"); }
namespace n { template <class T> __attribute__((noinline)) T leaf(T x) { volatile T y = x; return y * 3; } }
static inline int middle(int x) { return n::leaf(x) + 1; }
__attribute__((noinline)) int outer(int x, int *p) { if (x > 9) throw p; return middle(x) + middle(x + 1); }
int main(int count, char **) {
  try { paged_spin(count); return outer(count, &count) & 1; } catch (int *) { return 2; }
}
