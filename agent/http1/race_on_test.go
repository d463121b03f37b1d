//go:build race

package http1

// raceOn: sync.Pool then forgets things on purpose.
const raceOn = true
