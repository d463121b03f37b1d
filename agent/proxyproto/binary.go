package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// signature is what a header of version 2 begins with (2.2).
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// fixed is the length of what comes before addresses and TLVs.
const fixed = 16

// The thirteenth byte.
const (
	versionTwo   = 0x2 // in its upper half
	commandLocal = 0x0
	commandProxy = 0x1
)

// The fourteenth byte: family and transport protocol.
const (
	unspecified  = 0x00
	tcp4, udp4   = 0x11, 0x12
	tcp6, udp6   = 0x21, 0x22
	unixS, unixD = 0x31, 0x32
)

// typeCRC32c is the type of the TLV that holds a sum of the header (2.2.3).
const typeCRC32c = 0x03

func badBinary(at int, reason string) error {
	return &Error{Version: 2, Reason: reason, Offset: at}
}

// parseBinary is parse of version 2, once the signature is there.
func parseBinary(b []byte) (h Header, missing int, err error) {
	if v := b[12]; v>>4 != versionTwo || v&0xf > commandProxy {
		return Header{}, 0, badBinary(12, "unknown version or command")
	}
	local := b[12]&0xf == commandLocal
	size, known := addressSize(b[13])
	if !known && !local {
		return Header{}, 0, badBinary(13, "unknown family or protocol")
	}
	if len(b) < fixed {
		return Header{}, fixed - len(b), nil
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case length > MaxBlock:
		return Header{}, 0, badBinary(14, "length beyond the limit")
	case !local && length < size:
		return Header{}, 0, badBinary(14, "length too small for the addresses")
	case len(b) < fixed+length:
		return Header{}, fixed + length - len(b), nil
	case local: // whatever is in the block is to be discarded, the family too
		return Header{Local: true}, 0, nil
	case size == 0: // of an unspecified family nothing can be told but its length
		return Header{}, 0, nil
	}
	if err := checkTLVs(b[:fixed+length], fixed+size); err != nil {
		return Header{}, 0, err
	}
	return addresses(b[13], b[fixed:fixed+size]), 0, nil
}

// addressSize is how many bytes the addresses take; false for what must be refused.
func addressSize(f byte) (int, bool) {
	switch f {
	case unspecified:
		return 0, true
	case tcp4, udp4:
		return 2*4 + 2*2, true
	case tcp6, udp6:
		return 2*16 + 2*2, true
	case unixS, unixD:
		return 2 * 108, true
	}
	return 0, false
}

func addresses(f byte, b []byte) Header {
	size := 0
	switch f {
	case tcp4, udp4:
		size = 4
	case tcp6, udp6:
		size = 16
	default: // names of sockets on the proxy's machine
		return Header{}
	}
	source, _ := netip.AddrFromSlice(b[:size]) // the size is right
	destination, _ := netip.AddrFromSlice(b[size : 2*size])
	ports := b[2*size:]
	return Header{
		Source:      netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(ports)),
		Destination: netip.AddrPortFrom(destination.Unmap(), binary.BigEndian.Uint16(ports[2:])),
	}
}

// checkTLVs skips the TLVs of a whole header, which begin at that byte, and checks its sum
// where there is one.
func checkTLVs(b []byte, at int) error {
	sum := 0 // where it is
	for at < len(b) {
		if len(b)-at < 3 || len(b)-at-3 < int(binary.BigEndian.Uint16(b[at+1:])) {
			return badBinary(at, "TLV beyond the end")
		}
		length := int(binary.BigEndian.Uint16(b[at+1:]))
		if b[at] == typeCRC32c {
			if length != 4 || sum != 0 {
				return badBinary(at, "sum of a wrong length, or a second one")
			}
			sum = at + 3
		}
		at += 3 + length
	}
	if sum == 0 {
		return nil
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	got := crc32.Update(crc32.Update(crc32.Checksum(b[:sum], table), table, make([]byte, 4)), table, b[sum+4:])
	if got != binary.BigEndian.Uint32(b[sum:]) {
		return badBinary(sum, "sum that does not fit")
	}
	return nil
}
