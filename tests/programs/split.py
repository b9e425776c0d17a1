"""Python: two functions that split the CPU 70 : 30 and publish it (see published.h for the layout). `second` runs below three
calls."""

import struct
import sys
import time

ENTRIES = 1 << 16
clock = open(sys.argv[1], "w+b", buffering=0)
clock.truncate(16 + ENTRIES * 24)
totals = [0, 0]
count = 0
sink = 0


def words(values, at):
    clock.seek(at)
    clock.write(struct.pack("<%dQ" % len(values), *values))


def publish(path, nanoseconds):
    global count
    totals[path] += nanoseconds
    words([time.time_ns(), *totals], 16 + count % ENTRIES * 24)
    count += 1
    words([count], 0)


def first(until):
    global sink
    while time.thread_time_ns() < until:
        x = sink
        for i in range(3000):
            x = (x * 31 + i) & 0xFFFF
        sink = x


def second(level, until):
    global sink
    if level > 0:
        second(level - 1, until)
        sink += 1
        return
    while time.thread_time_ns() < until:
        x = sink
        for i in range(3000):
            x = (x << 5 ^ x >> 3 ^ i) & 0xFFFF
        sink = x


def main():
    words([2], 8)
    while True:
        start = time.thread_time_ns()
        first(start + 14_000_000)
        between = time.thread_time_ns()
        publish(0, between - start)
        second(3, between + 6_000_000)
        publish(1, time.thread_time_ns() - between)


main()
