// Runs code of COUNT files, each of them a copy of LIBRARY of its own, made in FOLDER: many_files LIBRARY FOLDER COUNT PROCESSES
// Each process maps its part of the copies, prints its number and `ready` once all of them do, and runs in one after the other,
// for ever: spin (in a copy) <- visit <- main.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
typedef unsigned long (*work)(unsigned long);
static volatile unsigned long sink;
NI static void visit(work spin) { sink += spin(sink); sink++; }
static char *bytes;
static size_t length;
static void read_library(const char *path) {
  int file = open(path, O_RDONLY);
  struct stat stat;
  if (file < 0 || fstat(file, &stat)) exit(3);
  length = (size_t)stat.st_size;
  bytes = malloc(length);
  if (!bytes || read(file, bytes, length) != (ssize_t)length) exit(3);
  close(file);
}
// One copy, mapped as a whole; the linker was told to put code at its own offset of the file.
static char *mapped_copy(const char *folder, int number) {
  char path[512];
  snprintf(path, sizeof path, "%s/copy-%d", folder, number);
  int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0755);
  if (file < 0 || write(file, bytes, length) != (ssize_t)length) exit(4);
  close(file);
  file = open(path, O_RDONLY);
  char *at = mmap(0, length, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  close(file);
  if (at == MAP_FAILED) exit(5);
  return at;
}
static void run(const char *folder, int from, int count, size_t spin, int ready, int go) {
  char **copies = malloc(sizeof *copies * (size_t)count);
  for (int i = 0; i < count; i++) copies[i] = mapped_copy(folder, from + i);
  int me = getpid();
  char word;
  if (write(ready, &me, sizeof me) != sizeof me || read(go, &word, 1) < 0) exit(6);
  for (;;)
    for (int i = 0; i < count; i++) visit((work)(copies[i] + spin));
}
int main(int words, char **word) {
  if (words < 5) return 2;
  int count = atoi(word[3]), processes = atoi(word[4]), ready[2], go[2];
  read_library(word[1]);
  void *library = dlopen(word[1], RTLD_NOW);
  void *spin = library ? dlsym(library, "spin") : 0;
  Dl_info info;
  if (!spin || !dladdr(spin, &info) || pipe(ready) || pipe(go)) return 3;
  size_t offset = (size_t)((char *)spin - (char *)info.dli_fbase);
  for (int i = 0; i < processes; i++)
    if (!fork()) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(go[1]);
      run(word[2], i * (count / processes), count / processes, offset, ready[1], go[0]);
    }
  for (int i = 0, pid; i < processes; i++) {
    if (read(ready[0], &pid, sizeof pid) != sizeof pid) return 4;
    printf("%d ", pid);
  }
  puts("ready");
  fflush(stdout);
  close(go[1]);
  while (wait(0) > 0) {}
  return 0;
}
