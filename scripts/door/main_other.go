//go:build !linux

// Command door measures what the front door costs beside other proxies. It needs Linux.
package main

import "fmt"

func main() {
	fmt.Println("SKIPPED: the measurement of the door needs Linux")
}
