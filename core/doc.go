// Package core holds the nouns of troop (Pipeline, Stage, Run, Host, Event, …) and the small interfaces between its
// parts. It knows no stage by name, prints nothing and depends on the standard library only. Every other core package
// imports it; it imports none of them.
package core
