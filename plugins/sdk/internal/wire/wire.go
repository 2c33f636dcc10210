// Package wire is the protocol between troop and its plugins: the generated messages of plugin.proto, conversions between
// them and the contract's types, both sides of the capabilities, and shared constants. Only plugins/sdk and its
// subpackages import it.
package wire

import "google.golang.org/grpc"

//go:generate sh -c "protoc --proto_path=. --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative plugin.proto"

// The handshake of go-plugin. The cookie is not a secret: it only shows a plugin that troop started it.
const (
	Version     = 1
	Name        = "stage"
	CookieKey   = "TROOP_PLUGIN"
	CookieValue = "b8f4c1d2-one-stage-one-binary"
	// ParentKey is the variable with the PID of the process that a plugin must not outlive.
	ParentKey = "TROOP_PARENT"
	// MaxMessage is the maximum size of a message in bytes.
	MaxMessage = 64 << 20
)

// Link is a connection to a running plugin, in another process or in this one.
type Link struct {
	Conn grpc.ClientConnInterface
	// Serve offers services to the plugin, under the number that it dials, until stop is called.
	Serve func(register func(grpc.ServiceRegistrar)) (broker uint32, stop func(), err error)
}
