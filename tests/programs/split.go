// Go: two paths that split the CPU 70 : 30 on one locked thread and publish it (see published.h for the layout). `first` holds
// `inlined` inlined; `second` runs below three calls.
package main

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const entries = 1 << 16

var (
	sink   uint64
	file   *os.File
	totals [2]uint64
	count  uint64
)

func cpuNanos() uint64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 3, uintptr(unsafe.Pointer(&t)), 0)
	return uint64(t.Sec)*1e9 + uint64(t.Nsec)
}

func publish(path int, ns uint64) {
	totals[path] += ns
	entry := make([]byte, 24)
	for i, word := range []uint64{uint64(time.Now().UnixNano()), totals[0], totals[1]} {
		binary.LittleEndian.PutUint64(entry[8*i:], word)
	}
	file.WriteAt(entry, int64(16+count%entries*24))
	count++
	binary.LittleEndian.PutUint64(entry, count)
	file.WriteAt(entry[:8], 0)
}

func inlined(x, i uint64) uint64 { return x*31 + (x>>7 ^ i) }

//go:noinline
func first(until uint64) {
	for cpuNanos() < until {
		x := sink
		for i := uint64(0); i < 30000; i++ {
			x = inlined(x, i)
		}
		sink = x
	}
}

//go:noinline
func second(level int, until uint64) {
	if level > 0 {
		second(level-1, until)
		sink++
		return
	}
	for cpuNanos() < until {
		x := sink
		for i := uint64(0); i < 30000; i++ {
			x = x<<5 ^ x>>3 + i
		}
		sink = x
	}
}

func main() {
	runtime.LockOSThread()
	var err error
	if file, err = os.Create(os.Args[1]); err != nil {
		os.Exit(2)
	}
	file.Truncate(16 + entries*24)
	head := make([]byte, 8)
	binary.LittleEndian.PutUint64(head, 2)
	file.WriteAt(head, 8)
	for {
		start := cpuNanos()
		first(start + 7000000)
		between := cpuNanos()
		publish(0, between-start)
		second(3, between+3000000)
		publish(1, cpuNanos()-between)
	}
}
