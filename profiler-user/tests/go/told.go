// Inlined calls, generic functions, methods of embedded types and closures. By runtime.CallersFrames it tells what Go itself knows of
// the addresses that it reads. Its argument is the linked address of main.main.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"reflect"
	"runtime"
	_ "runtime/pprof"
	"sort"
	"strconv"
	_ "unsafe"
)

type inner struct{ n int }

func (i inner) Value(x int) int { return mix(x) + i.n }

// Outer has a method that the compiler makes.
type Outer struct{ inner }

// Valuer is what Outer and inner have in common.
type Valuer interface{ Value(x int) int }

func mix(x int) int    { return add(x, 3) ^ rot(x) }
func add(a, b int) int { return a + b }
func rot(x int) int    { return x<<7 | x>>57 }

// Stack is generic.
type Stack[T any] struct{ items []T }

func (s *Stack[T]) Push(x T) { s.items = append(s.items, x) }

//go:noinline
func (s *Stack[T]) Pop() T {
	x := s.items[len(s.items)-1]
	s.items = s.items[:len(s.items)-1]
	return x
}

//go:noinline
func sum[T int | float64](xs []T) T {
	var s T
	for _, x := range xs {
		s += x * x
	}
	return s
}

//go:noinline
func work(v Valuer, n int) int {
	t := 0
	for i := 0; i < n; i++ {
		t += v.Value(i)
		t ^= func(y int) int { return mix(y) * t }(i)
	}
	return t
}

// What the runtime's own profiles use to find the calls that were inlined at an address.
//
//go:linkname expand runtime/pprof.runtime_expandFinalInlineFrame
func expand(stack []uintptr) []uintptr

func tell(address, bias uint64, out *bufio.Writer) {
	fmt.Fprintf(out, "%x", address)
	// It is told return addresses, which lie behind the calls.
	frames := runtime.CallersFrames(expand([]uintptr{uintptr(address + bias + 1)}))
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		start := reflect.ValueOf(frame).FieldByName("startLine").Int()
		fmt.Fprintf(out, "\t%s|%s|%d|%d", frame.Function, frame.File, frame.Line, start)
	}
	fmt.Fprintln(out)
}

func main() {
	xs := []int{5, 2, 9}
	sort.Slice(xs, func(a, b int) bool { return xs[a] < xs[b] })
	var stack Stack[string]
	stack.Push("x")
	method := (&Outer{inner{4}}).Value
	fmt.Fprintln(os.Stderr, sum(xs), sum([]float64{1}), stack.Pop(), sha256.Sum256(nil), work(&Outer{inner{3}}, 9), method(4))
	link, _ := strconv.ParseUint(os.Args[1], 16, 64)
	bias := uint64(reflect.ValueOf(main).Pointer()) - link
	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	for in.Scan() {
		address, _ := strconv.ParseUint(in.Text(), 16, 64)
		tell(address, bias, out)
	}
	out.Flush()
}
