package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"os"
)

// bbolt maps its file into memory and trusts it: a damaged page ends the process by
// a panic in a goroutine of its own or by a fault, at the start or at any later
// moment. So each of its files is read as plain bytes first, and opened only if every
// page that can be reached is sound. The layout is that of bbolt's file format
// version 2: pages with a header of 16 bytes, two of them meta pages that take turns,
// and B+ trees of branch and leaf pages.

const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltHeader     = 16 // of a page, and the size of each element
	boltMeta       = 64
	boltNoFreelist = math.MaxUint64
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltFreelist   = 0x10
	boltMinPage    = 1 << 10
	boltMaxPage    = 1 << 16
	boltMaxFile    = 64 << 20 // our files hold a few keys
)

// buckets are what a bbolt file holds.
type buckets map[string]map[string][]byte

// readBolt reads a file of bbolt's; nil when there is none.
func readBolt(path string) (buckets, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, damaged(path, "is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, boltMaxFile+1))
	if err != nil {
		return nil, damaged(path, "cannot be read: %v", err)
	}
	out, err := parseBolt(b)
	if err != nil {
		return nil, damaged(path, "is damaged: %v", err)
	}
	return out, nil
}

// boltFile is a file while it is looked through.
type boltFile struct {
	data  []byte
	page  uint64 // bytes a page
	end   uint64 // the first page that is not in use
	taken map[uint64]bool
}

// parseBolt checks every page that bbolt could follow, and returns what is there.
func parseBolt(b []byte) (buckets, error) {
	if len(b) > boltMaxFile {
		return nil, fmt.Errorf("larger than %d bytes", boltMaxFile)
	}
	m, err := newestMeta(b)
	if err != nil {
		return nil, err
	}
	f := &boltFile{data: b, page: uint64(m.pageSize), end: m.end, taken: map[uint64]bool{}}
	if f.end > uint64(len(b))/f.page {
		return nil, fmt.Errorf("cut short: %d pages of %d bytes are in use, the file has %d bytes", f.end, f.page, len(b))
	}
	out := buckets{}
	err = f.tree(m.root, span{}, func(flags uint32, name, val []byte) error {
		if flags != 1 {
			return fmt.Errorf("%q is no bucket", name)
		}
		keys := map[string][]byte{}
		out[string(name)] = keys
		return f.bucket(val, func(flags uint32, k, v []byte) error {
			if flags != 0 {
				return fmt.Errorf("a bucket inside of bucket %q", name)
			}
			keys[string(k)] = v
			return nil
		})
	})
	if err == nil && m.freelist != boltNoFreelist {
		err = f.free(m.freelist)
	}
	return out, err
}

type boltMetaPage struct {
	pageSize            uint32
	root, freelist, end uint64
	transaction         uint64
}

// newestMeta wants both meta pages whole. bbolt would go back to the older one, and
// that forgets a transaction: maybe a vote.
func newestMeta(b []byte) (boltMetaPage, error) {
	first, err := metaAt(b, 0)
	if err != nil {
		return first, fmt.Errorf("first meta page: %w", err)
	}
	second, err := metaAt(b, uint64(first.pageSize))
	if err != nil {
		return second, fmt.Errorf("second meta page: %w", err)
	}
	if first.pageSize != second.pageSize || first.transaction%2 != 0 || second.transaction%2 != 1 {
		return first, errors.New("the meta pages do not belong together")
	}
	if second.transaction == first.transaction+1 {
		return second, nil
	}
	if first.transaction == second.transaction+1 {
		return first, nil
	}
	return first, fmt.Errorf("the meta pages are of transactions %d and %d", first.transaction, second.transaction)
}

func metaAt(b []byte, off uint64) (boltMetaPage, error) {
	var m boltMetaPage
	if uint64(len(b)) < off+boltHeader+boltMeta {
		return m, fmt.Errorf("cut short after %d bytes", len(b))
	}
	p := b[off+boltHeader:][:boltMeta]
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	if u32(p) != boltMagic || u32(p[4:]) != boltVersion {
		return m, errors.New("not a page of this format")
	}
	h := fnv.New64a()
	h.Write(p[:56])
	if h.Sum64() != u64(p[56:]) {
		return m, errors.New("its check sum is wrong")
	}
	m = boltMetaPage{pageSize: u32(p[8:]), root: u64(p[16:]), freelist: u64(p[32:]), end: u64(p[40:]), transaction: u64(p[48:])}
	if m.pageSize < boltMinPage || m.pageSize > boltMaxPage || m.pageSize&(m.pageSize-1) != 0 {
		return m, fmt.Errorf("pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// node is one page with those that it flows over into.
type node struct {
	flags uint16
	count int
	data  []byte // with the header
}

func parseNode(b []byte) node {
	return node{binary.NativeEndian.Uint16(b[8:]), int(binary.NativeEndian.Uint16(b[10:])), b}
}

// take returns a page that nothing has pointed to yet.
func (f *boltFile) take(id uint64) (node, error) {
	if id < 2 || id >= f.end {
		return node{}, fmt.Errorf("page %d of %d", id, f.end)
	}
	b := f.data[id*f.page:]
	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if binary.NativeEndian.Uint64(b) != id || more >= f.end-id {
		return node{}, fmt.Errorf("page %d has the header of another", id)
	}
	for i := id; i <= id+more; i++ {
		if f.taken[i] {
			return node{}, fmt.Errorf("page %d is used twice", i)
		}
		f.taken[i] = true
	}
	return parseNode(b[:(1+more)*f.page]), nil
}

// span is a range of keys: from low, and below high unless that is nil.
type span struct{ low, high []byte }

type visit func(flags uint32, key, val []byte) error

// tree walks one B+ tree. Recursion ends because no page is taken twice.
func (f *boltFile) tree(id uint64, keys span, see visit) error {
	n, err := f.take(id)
	if err != nil {
		return err
	}
	if n.flags == boltLeaf {
		if err := n.leaf(keys, see); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	}
	if n.flags != boltBranch || n.count == 0 {
		return fmt.Errorf("page %d: not a page of a tree", id)
	}
	children := make([]uint64, n.count)
	first := make([][]byte, n.count, n.count+1)
	for i := range n.count {
		e, err := n.element(i)
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		pos, size := binary.NativeEndian.Uint32(e), binary.NativeEndian.Uint32(e[4:])
		if first[i], err = n.cut(i, uint64(pos), uint64(size)); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		children[i] = binary.NativeEndian.Uint64(e[8:])
		if err := keys.admit(first[i]); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		keys.low = append(bytes.Clone(first[i]), 0)
	}
	first = append(first, keys.high)
	for i, c := range children {
		if err := f.tree(c, span{first[i], first[i+1]}, see); err != nil {
			return err
		}
	}
	return nil
}

// leaf sees each element in order.
func (n node) leaf(keys span, see visit) error {
	for i := range n.count {
		e, err := n.element(i)
		if err != nil {
			return err
		}
		u32 := binary.NativeEndian.Uint32
		pos, ksize, vsize := uint64(u32(e[4:])), uint64(u32(e[8:])), uint64(u32(e[12:]))
		both, err := n.cut(i, pos, ksize+vsize)
		if err != nil {
			return err
		}
		key, val := both[:ksize:ksize], both[ksize:]
		if err := keys.admit(key); err != nil {
			return err
		}
		keys.low = append(bytes.Clone(key), 0) // the least key after it
		if err := see(u32(e), key, val); err != nil {
			return err
		}
	}
	return nil
}

func (n node) element(i int) ([]byte, error) {
	off := boltHeader * (i + 1)
	if off+boltHeader > len(n.data) {
		return nil, fmt.Errorf("%d elements do not fit", n.count)
	}
	return n.data[off : off+boltHeader], nil
}

// cut returns what element i points to; pos counts from the element itself.
func (n node) cut(i int, pos, size uint64) ([]byte, error) {
	from := uint64(boltHeader*(i+1)) + pos
	if from < uint64(boltHeader*(n.count+1)) || from+size > uint64(len(n.data)) {
		return nil, fmt.Errorf("element %d lies outside", i)
	}
	return n.data[from : from+size], nil
}

func (s span) admit(key []byte) error {
	if len(key) == 0 || bytes.Compare(key, s.low) < 0 || s.high != nil && bytes.Compare(key, s.high) >= 0 {
		return fmt.Errorf("key %q is out of order", key)
	}
	return nil
}

// bucket walks a bucket: a tree of its own, or one page within the value.
func (f *boltFile) bucket(val []byte, see visit) error {
	if len(val) < boltHeader {
		return errors.New("a bucket without a head")
	}
	if root := binary.NativeEndian.Uint64(val); root != 0 {
		return f.tree(root, span{}, see)
	}
	if len(val) < 2*boltHeader {
		return errors.New("a bucket without a page")
	}
	n := parseNode(val[boltHeader:])
	if n.flags != boltLeaf {
		return errors.New("a bucket with a page of another kind")
	}
	return n.leaf(span{}, see)
}

// free checks the list of free pages: what is in use must not be given out again.
func (f *boltFile) free(id uint64) error {
	n, err := f.take(id)
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	ids := n.data[boltHeader:]
	if n.flags != boltFreelist || n.count == math.MaxUint16 || n.count*8 > len(ids) {
		return fmt.Errorf("page %d: not a list of free pages", id)
	}
	for i := range n.count {
		free := binary.NativeEndian.Uint64(ids[8*i:])
		if free < 2 || free >= f.end || f.taken[free] {
			return fmt.Errorf("page %d is listed as free", free)
		}
		f.taken[free] = true
	}
	return nil
}
