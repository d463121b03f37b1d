// Package backup is the form in which a cluster's state leaves the cluster: a file that
// only the holder of the recovery key can read, and that anybody can check.
//
//	"USHERSNP" version(1)
//	header   length(4) JSON             in the clear: of which cluster, as of when
//	key      length(2) sealed           the file's key, sealed to the recovery key
//	chunks   { length(4) ciphertext }   64 KiB of content each, the last one less
//	sum      SHA-256 of all before it
//
// Numbers are big-endian. Each file has a key of its own. Chunks are encrypted with
// AES-256-GCM under it; the nonce is the chunk's number and whether it is the last, so that
// none can be left out, repeated, moved or cut off (the STREAM construction of Hoang,
// Reyhanitabar, Rogaway and Vizár, CRYPTO 2015), and everything before the chunks is
// authenticated with each of them. The sum tells damage apart without a key; it proves
// nothing about who wrote the file, and neither does the seal: whoever knows the recovery
// key's public half can write one.
//
// What the content is the package does not know. It has no state and no I/O of its own.
package backup
