// Package doctor judges facts about a node, each by itself, into lines that an operator
// can act on. It looks at nothing: whoever looks hands Facts over.
//
//	agent that runs    own facts, the others asked --+
//	                                                 +--> Facts --> Judge --> []Line
//	command, offline   files, disk, addresses -------+
//
// A fact that nobody could find out is a line that was skipped and says why, never one
// that is well.
package doctor
