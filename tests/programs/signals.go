// A Go program that sends itself signals all the time; the runtime's handler interrupts it, mostly in the system call.
package main

import "syscall"

//go:noinline
func storm(pid int) {
	for i := 0; i < 100; i++ {
		syscall.Kill(pid, syscall.SIGURG)
	}
}

func main() {
	for {
		storm(syscall.Getpid())
	}
}
