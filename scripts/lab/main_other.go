//go:build !linux

// Command lab breaks real agents and checks what they promise. It needs Linux.
package main

import "fmt"

func main() {
	fmt.Println("SKIPPED: the laboratory needs Linux")
}
