// Package core holds the nouns of troop (Pipeline, Stage, Run, Host, Event, …), the engine that walks a
// pipeline's graph, and the small interfaces that the engine needs. It knows no stage by name, prints nothing
// and depends on the standard library only. Every other core package imports it; it imports none of them.
package core
