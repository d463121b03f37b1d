// Package agent is the composition root: it builds every part of an usher node,
// owns every goroutine, and tears all down in reverse.
//
//	 users            operators            other agents
//	   |                  |                      |
//	 door               admin             cluster port
//	   |   \              |            /   |    |    \
//	   |    directory <- state <- consensus |  join   gossip
//	engines      \        |                        membership
//	              scheduler (worker everywhere, leader on the central node)
//
// Parts never know each other: what they need of one another is an interface that
// the consumer declares and this package satisfies. It alone reads the wall clock
// for them (Options.Now), and all sockets come from Options.Network.
package agent
