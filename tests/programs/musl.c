/* For a C library that has neither unwind tables nor frame pointers: work of its own, and work in that library, called in turn. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile uint64_t sink;

__attribute__((noinline)) static void own_work(void) {
    for (int i = 0; i < 2000000; i++)
        sink = sink * 2862933555777941757u + 3037000493u;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

__attribute__((noinline)) static void library_work(void) {
    static uint32_t numbers[4096];
    for (int i = 0; i < 4096; i++)
        numbers[i] = (uint32_t)i * 2654435761u;
    qsort(numbers, 4096, sizeof *numbers, by_value);
    char line[64];
    for (int i = 0; i < 4096; i++)
        sink += (uint64_t)snprintf(line, sizeof line, "%u %g", numbers[i], i / 3.0) + strlen(line);
}

int main(void) {
    puts("ready");
    fflush(stdout);
    for (;;) {
        own_work();
        library_work();
    }
}
