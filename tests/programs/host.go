// Go with C and a plugin: three paths that split the CPU 40 : 30 : 30 on one locked thread and publish it (see published.h for the
// layout). The first is a generic function, called by way of a method that the compiler made; the second is C; the third is Run of the
// plugin that the second argument names.
package main

/*
static volatile unsigned long c_sink;

static void burn(unsigned long rounds) {
  unsigned long x = c_sink;
  for (unsigned long i = 0; i < rounds; i++) x = x * 31 + (x >> 7 ^ i);
  c_sink = x;
}

__attribute__((noinline)) void in_c(unsigned long rounds) { burn(rounds); }
*/
import "C"

import (
	"encoding/binary"
	"os"
	"plugin"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const entries = 1 << 16

var (
	sink   uint64
	file   *os.File
	totals [3]uint64
	count  uint64
)

func cpuNanos() uint64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 3, uintptr(unsafe.Pointer(&t)), 0)
	return uint64(t.Sec)*1e9 + uint64(t.Nsec)
}

func publish(path int, ns uint64) {
	totals[path] += ns
	entry := make([]byte, 32)
	for i, word := range []uint64{uint64(time.Now().UnixNano()), totals[0], totals[1], totals[2]} {
		binary.LittleEndian.PutUint64(entry[8*i:], word)
	}
	file.WriteAt(entry, int64(16+count%entries*32))
	count++
	binary.LittleEndian.PutUint64(entry, count)
	file.WriteAt(entry[:8], 0)
}

func inlined[T uint32 | uint64](x, i T) T { return x*31 + (x>>7 ^ i) }

//go:noinline
func generic[T uint32 | uint64](x T) T {
	for i := T(0); i < 30000; i++ {
		x = inlined(x, i)
	}
	return x
}

type inner struct{}

//go:noinline
func (inner) Spin(until uint64) {
	for cpuNanos() < until {
		sink = generic(sink)
	}
}

type outer struct{ inner }

type spinner interface{ Spin(until uint64) }

//go:noinline
func spin(s spinner, until uint64) { s.Spin(until) }

func main() {
	runtime.LockOSThread()
	plug, err := plugin.Open(os.Args[2])
	if err != nil {
		panic(err)
	}
	run, err := plug.Lookup("Run")
	if err != nil {
		panic(err)
	}
	if file, err = os.Create(os.Args[1]); err != nil {
		panic(err)
	}
	file.Truncate(16 + entries*32)
	head := make([]byte, 8)
	binary.LittleEndian.PutUint64(head, 3)
	file.WriteAt(head, 8)
	for {
		start := cpuNanos()
		spin(&outer{}, start+4000000)
		afterGo := cpuNanos()
		publish(0, afterGo-start)
		afterGo = cpuNanos()
		for cpuNanos() < afterGo+3000000 {
			C.in_c(100000)
		}
		publish(1, cpuNanos()-afterGo)
		afterC := cpuNanos()
		run.(func(uint64))(afterC + 3000000)
		publish(2, cpuNanos()-afterC)
	}
}
