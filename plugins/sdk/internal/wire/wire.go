// Package wire is the protocol between troop and its plugins: the messages of plugin.proto, generated, and
// the few constants that both ends must share. Only plugins/sdk and the packages below it import it.
package wire

//go:generate sh -c "protoc --proto_path=. --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative plugin.proto"
