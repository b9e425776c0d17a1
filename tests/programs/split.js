// Node: two functions that split the CPU 70 : 30 and publish it (see published.h for the layout). `second` runs below three
// calls. The clock is the process's: of its other threads only the compiler's work, and only at the beginning.
'use strict';
const fs = require('fs');

const ENTRIES = 1 << 16;
const file = fs.openSync(process.argv[2], 'w');
fs.ftruncateSync(file, 16 + ENTRIES * 24);
const totals = [0, 0];
let count = 0;
let sink = 0;

function words(values, at) {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => bytes.writeBigUInt64LE(BigInt(value), 8 * i));
  fs.writeSync(file, bytes, 0, bytes.length, at);
}

function cpuMicros() {
  const used = process.cpuUsage();
  return used.user + used.system;
}

function publish(path, micros) {
  totals[path] += micros * 1000;
  const wall = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
  words([wall, ...totals], 16 + (count % ENTRIES) * 24);
  words([++count], 0);
}

function first(until) {
  while (cpuMicros() < until) {
    let x = sink;
    for (let i = 0; i < 100000; i++) x = (Math.imul(x, 31) + ((x >>> 7) ^ i)) | 0;
    sink = x;
  }
}

function second(level, until) {
  if (level > 0) {
    second(level - 1, until);
    sink++;
    return;
  }
  while (cpuMicros() < until) {
    let x = sink;
    for (let i = 0; i < 100000; i++) x = ((x << 5) ^ (x >>> 3)) + i | 0;
    sink = x;
  }
}

words([2], 8);
for (;;) {
  const start = cpuMicros();
  first(start + 14000);
  const between = cpuMicros();
  publish(0, between - start);
  second(3, between + 6000);
  publish(1, cpuMicros() - between);
}
