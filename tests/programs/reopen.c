// Opens two libraries in turn, runs `part` of each, and closes it again: reopen LIB_A LIB_B
#include <dlfcn.h>
#define NI __attribute__((noinline, noclone))
static volatile int sink;
NI static int run_part(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  if (!library) return 1;
  void (*part)(void) = (void (*)(void))dlsym(library, "part");
  if (!part) return 2;
  part();
  sink++;
  return dlclose(library);
}
int main(int count, char **words) {
  if (count < 3) return 2;
  for (;;) {
    if (run_part(words[1]) || run_part(words[2])) return 3;
  }
}
