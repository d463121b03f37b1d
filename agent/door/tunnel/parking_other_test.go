//go:build !linux

package tunnel

const canPark = false
