//go:build race

package sim

// slowdown is what the race detector costs: so many times fewer seeds are quick.
const slowdown = 8
