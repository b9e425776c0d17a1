// Calls that are hard to unwind: `leaf` has no frame and is hot, `framed` is so short that much of its time goes to its prologue and
// epilogue.
package main

var sink uint64

//go:noinline
func leaf(x uint64) uint64 {
	for i := uint64(0); i < 12; i++ {
		x = x<<5 ^ x>>3 + i
	}
	return x
}

//go:noinline
func framed(x uint64) uint64 {
	return leaf(x) + 1
}

//go:noinline
func caller() {
	for i := 0; i < 1000; i++ {
		sink += framed(sink)
	}
}

func main() {
	for {
		caller()
	}
}
