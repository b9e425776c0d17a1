// A Go program whose time goes to allocating, growing stacks and collecting garbage: work on the runtime's own stacks.
package main

type node struct {
	left, right *node
	load        [6]uint64
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: tree(depth - 1), right: tree(depth - 1)}
}

//go:noinline
func deep(level int) byte {
	var room [512]byte
	room[level&511] = byte(level)
	if level > 0 {
		return deep(level-1) + room[level&511]
	}
	return room[0]
}

var kept []*node

func main() {
	for i := 0; ; i++ {
		kept = append(kept, tree(14))
		if len(kept) > 16 {
			kept = append([]*node(nil), kept[8:]...)
		}
		done := make(chan byte)
		go func() { done <- deep(200) }()
		<-done
	}
}
