package http1

const (
	maxMethod = 32        // RFC 9112 3: longer than any that is implemented
	maxHead   = 1<<16 - 1 // offsets into a head are 16 bits wide
	maxFields = 1 << 10
)

// Limits bound what a peer can make us hold. A value of zero or less stands for the
// default; one beyond the largest possible for that.
type Limits struct {
	Head    int // bytes of a head, from its first to the empty line that ends it; 32 KiB, at most 64 KiB - 1
	Fields  int // field lines of a head or of a trailer section; 100, at most 1024
	Target  int // bytes of a request target; 8 KiB
	Trailer int // bytes of a trailer section; 4 KiB, at most 64 KiB - 1
}

// fill puts in defaults.
func (l Limits) fill() Limits {
	return Limits{
		Head:    within(l.Head, 32<<10, maxHead),
		Fields:  within(l.Fields, 100, maxFields),
		Target:  within(l.Target, 8<<10, maxHead),
		Trailer: within(l.Trailer, 4<<10, maxHead),
	}
}

func within(n, standard, most int) int {
	if n <= 0 {
		return standard
	}
	return min(n, most)
}
