// Opens the library that its argument names, calls its many() from run_many(), and closes it, so that all is bound anew each time.
#include <dlfcn.h>
#include <stdlib.h>
#define NI __attribute__((noinline, noclone))
static volatile unsigned long sink;
NI static void run_many(void *library) {
  unsigned long (*many)(unsigned long) = (unsigned long (*)(unsigned long))dlsym(library, "many");
  if (!many) abort();
  sink = many(sink) + 1;
}
int main(int count, char **arguments) {
  if (count != 2) return 1;
  for (;;) {
    void *library = dlopen(arguments[1], RTLD_LAZY | RTLD_LOCAL);
    if (!library) return 1;
    run_many(library);
    dlclose(library);
  }
}
