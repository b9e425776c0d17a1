// Built with -fsplit-stack: 40 levels of down() with 6 KB each go through several pieces of stack to leaf(); all below main.
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
static void *volatile escaped;
NI static void leaf(void) { for (int i = 0; i < 20000; i++) sink += (unsigned long)i ^ (sink >> 3); }
NI static int down(int level) {
  char room[6000];
  escaped = room;
  if (level > 1) sink += (unsigned long)down(level - 1);
  else leaf();
  return room[level] & 1;
}
int main(void) {
  for (;;) sink += (unsigned long)down(40);
}
