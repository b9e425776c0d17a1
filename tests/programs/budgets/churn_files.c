// Starts RATE short-lived programs a second for SECONDS, every FRESH-th of them from a file that nobody has seen: a copy of this
// program in FOLDER, unlinked when it has ended. Each computes some ms. Prints how many were started, and how many of them were
// fresh: churn_files RATE SECONDS FRESH FOLDER
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define NI __attribute__((noinline, noclone))
extern char **environ;
static volatile unsigned long sink;
static uint64_t now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
NI static void short_work(void) {
  while (now(CLOCK_PROCESS_CPUTIME_ID) < 3000000) for (int i = 0; i < 5000; i++) sink += (unsigned long)i ^ (sink >> 3);
}
enum { KEPT = 256, MOST = 64 };
static char *bytes;
static size_t length;
static void read_own(void) {
  int file = open("/proc/self/exe", O_RDONLY);
  struct stat stat;
  if (file < 0 || fstat(file, &stat)) exit(3);
  length = (size_t)stat.st_size;
  bytes = malloc(length);
  if (!bytes || read(file, bytes, length) != (ssize_t)length) exit(3);
  close(file);
}
static int start(const char *program) {
  char *words[] = {(char *)program, "child", 0};
  pid_t pid;
  return posix_spawn(&pid, program, 0, 0, words, environ) == 0;
}
static int start_fresh(const char *folder, unsigned long number) {
  char path[512];
  snprintf(path, sizeof path, "%s/fresh-%lu", folder, number % KEPT);
  unlink(path);
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
  if (file < 0 || write(file, bytes, length) != (ssize_t)length) exit(4);
  close(file);
  return start(path);
}
int main(int count, char **words) {
  if (count == 2 && !strcmp(words[1], "child")) {
    short_work();
    return 0;
  }
  if (count < 5) return 2;
  unsigned long rate = strtoul(words[1], 0, 10), seconds = strtoul(words[2], 0, 10), every = strtoul(words[3], 0, 10);
  uint64_t begin = now(CLOCK_MONOTONIC), end = begin + seconds * 1000000000u;
  unsigned long started = 0, ended = 0, fresh = 0;
  read_own();
  for (uint64_t i = 0;; i++) {
    uint64_t due = begin + i * 1000000000u / rate, at = now(CLOCK_MONOTONIC);
    if (due >= end || at >= end) break;
    struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
    if (i % every == 0) fresh += (unsigned long)start_fresh(words[4], i / every);
    else start("/proc/self/exe");
    started++;
    // More than these at a time would only wait for a CPU.
    while (waitpid(-1, 0, started - ended > MOST ? 0 : WNOHANG) > 0) ended++;
  }
  while (wait(0) > 0) {}
  printf("%lu %lu\n", started, fresh);
  return 0;
}
