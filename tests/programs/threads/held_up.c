// A thread whose stack waits for a userfaultfd that nobody serves, above where it stands; and three that sleep as usual.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
enum { PAGE = 4096, PAGES = 64, GONE = 16 };
static volatile unsigned long sink;
NI static void usual(void) { for (;;) pause(); }
static void *on_usual(void *x) { usual(); sink++; return x; }
// Stands some pages below the frames of its callers, whose pages are then taken away.
NI static void deep(char *stack) {
  volatile char room[(GONE + 4) * PAGE];
  room[0] = 1;
  int handler = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  struct uffdio_api api = {.api = UFFD_API};
  char *gone = stack + (PAGES - GONE) * PAGE;
  struct uffdio_register range = {.range = {(uintptr_t)gone, GONE * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (handler < 0 || ioctl(handler, UFFDIO_API, &api) || ioctl(handler, UFFDIO_REGISTER, &range)) exit(5);
  if (madvise(gone, GONE * PAGE, MADV_DONTNEED)) exit(6);
  for (;;) pause();
}
static void *on_deep(void *stack) { deep(stack); sink++; return 0; }
int main(void) {
  pthread_t thread;
  for (int i = 0; i < 3; i++)
    if (pthread_create(&thread, 0, on_usual, 0)) return 3;
  char *stack = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t own;
  pthread_attr_init(&own);
  if (stack == MAP_FAILED || pthread_attr_setstack(&own, stack, PAGES * PAGE)) return 4;
  if (pthread_create(&thread, &own, on_deep, stack)) return 3;
  usleep(200000);
  puts("ready");
  fflush(stdout);
  usual();
}
