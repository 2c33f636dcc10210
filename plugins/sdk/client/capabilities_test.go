package client

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// TestUndeclared calls every service of the core as a plugin would whose SDK does not look at what it declared.
func TestUndeclared(t *testing.T) {
	// Nothing stands behind it: a call that is let through panics.
	core := wire.Serve(only(struct{ contract.Capabilities }{}, "greedy", []contract.Capability{"tea"}))
	conn := serve(t, func(s *grpc.Server) { wire.RegisterCapabilitiesServer(s, core) })
	desc := wire.Capabilities_ServiceDesc
	refused := func(method string, err error) {
		t.Helper()
		s, _ := status.FromError(err)
		if s.Code() != codes.PermissionDenied || !strings.HasPrefix(s.Message(), `plugin greedy does not declare the capability "`) {
			t.Errorf("%s: %v", method, err)
		}
	}
	for _, m := range desc.Methods {
		refused(m.MethodName, conn.Invoke(t.Context(), "/"+desc.ServiceName+"/"+m.MethodName, &wire.InventoryRequest{}, &wire.InventoryReply{}))
	}
	for i, m := range desc.Streams {
		s, err := conn.NewStream(t.Context(), &desc.Streams[i], "/"+desc.ServiceName+"/"+m.StreamName)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(&wire.InventoryRequest{}); err != nil {
			t.Fatal(err)
		}
		_ = s.CloseSend()
		refused(m.StreamName, s.RecvMsg(&wire.InventoryReply{}))
	}
}
