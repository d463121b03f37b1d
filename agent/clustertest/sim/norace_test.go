//go:build !race

package sim

// slowdown is what the race detector costs.
const slowdown = 1
