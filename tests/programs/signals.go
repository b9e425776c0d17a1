// A Go thread that sends itself signals all the time; the runtime's handler interrupts it in the system call.
package main

import (
	"runtime"
	"syscall"
)

//go:noinline
func storm(process, thread int) {
	for i := 0; i < 100; i++ {
		syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(process), uintptr(thread), uintptr(syscall.SIGURG))
	}
}

func main() {
	runtime.LockOSThread()
	for {
		storm(syscall.Getpid(), syscall.Gettid())
	}
}
