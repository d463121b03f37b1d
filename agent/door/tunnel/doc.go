// Package tunnel carries WebSockets once they are open (RFC 6455), between a client and an
// engine that speak frames to each other.
//
//	          scan headers, pass on, put control frames in between
//	client ----------------------------- up ----------------------------> engine
//	client <---------------------------- down --------------------------- engine
//
// Of each direction, a lane, only the frames' headers are read; payloads are passed on
// untouched. So it is known where a frame ends, and there the tunnel can put control frames
// of its own: pings to the client, whose pongs it swallows, and at a shutdown a close frame
// to both ends. What becomes of a tunnel is decided by its fate, which does nothing itself.
//
// A Lot runs tunnels. On Linux, those between two plain TCP connections are parked: their
// descriptors belong to one of a few loops (epoll(7)), and an idle one costs some hundred
// bytes besides what the kernel has. All others, under TLS for one, have a goroutine for each lane
// and one that decides. Both sorts share everything but their reading and writing.
package tunnel
