// Package core holds the nouns of troop (Pipeline, Stage, Run, Host, Event, …) and the small interfaces between its
// parts. The nouns that plugins know too are those of plugins/sdk/contract. It knows no stage by name, prints nothing and
// depends on that package and the standard library only. Every other core package imports it; it imports none of them.
package core
