// Package wire is the protocol between troop and its plugins: the messages of plugin.proto, generated; the conversions
// between them and the contract's types; both halves of the capabilities; and the few constants that both ends must
// share. Only plugins/sdk and the packages below it import it.
package wire

import "google.golang.org/grpc"

//go:generate sh -c "protoc --proto_path=. --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative plugin.proto"

// The handshake of go-plugin. The cookie only tells a plugin that troop starts it; it is no secret.
const (
	Version     = 1
	Name        = "stage"
	CookieKey   = "TROOP_PLUGIN"
	CookieValue = "b8f4c1d2-one-stage-one-binary"
	// ParentKey is the variable that tells a plugin the process that it must not outlive.
	ParentKey = "TROOP_PARENT"
	// MaxMessage is the size in bytes of the largest message that either side takes.
	MaxMessage = 64 << 20
)

// Link is a way to a plugin that runs already: in a process of its own, or in this one.
type Link struct {
	Conn grpc.ClientConnInterface
	// Serve offers services to the plugin until stop is called, under the number that it dials.
	Serve func(register func(grpc.ServiceRegistrar)) (broker uint32, stop func(), err error)
}
