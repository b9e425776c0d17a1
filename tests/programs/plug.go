// Go plugin of host.go: Run spends CPU time in a function that was inlined into it.
package main

import (
	"syscall"
	"unsafe"
)

var sink uint64

func cpuNanos() uint64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 3, uintptr(unsafe.Pointer(&t)), 0)
	return uint64(t.Sec)*1e9 + uint64(t.Nsec)
}

func plugged(x, i uint64) uint64 { return x*37 + (x>>9 ^ i) }

// Run works until the thread has used so much CPU time.
func Run(until uint64) {
	for cpuNanos() < until {
		x := sink
		for i := uint64(0); i < 30000; i++ {
			x = plugged(x, i)
		}
		sink = x
	}
}

func main() {}
