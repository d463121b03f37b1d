// Package config is what an agent is told by its operator: one value made from
// flags, environment, a file and defaults.
//
//	flags  >  USHER_* variables  >  YAML file  >  defaults
//	   \________________\_____________/_____________/
//	                     Merge -> Config + Origins -> Validate
//
// Each source becomes a Layer of texts; Merge lays them over each other and types
// the result; Validate says everything that is wrong with it at once. Nothing here
// reads the environment, parses flags or touches a socket: the command does, and
// passes in what it found. What the whole cluster must agree on is not here but in
// the replicated settings.
package config
