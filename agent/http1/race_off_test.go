//go:build !race

package http1

const raceOn = false
