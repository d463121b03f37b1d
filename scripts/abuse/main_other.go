//go:build !linux

// Command abuse shows that those who abuse the door do not harm those who use it. It needs
// Linux.
package main

import "fmt"

func main() {
	fmt.Println("SKIPPED: the measurement of abuse needs Linux")
}
