package wire

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const golden = "testdata/protocol.txt"

// TestProtocol holds the protocol to what it was: plugins that were built long ago speak it.
func TestProtocol(t *testing.T) {
	now := protocol()
	b, err := os.ReadFile(golden)
	update := os.Getenv("UPDATE") != ""
	if err != nil && !update {
		t.Fatal(err)
	}
	then := strings.Split(strings.TrimSpace(string(b)), "\n")
	gone := missing(then, now)
	switch {
	case len(gone) > 0 && slices.Contains(now, then[0]):
		t.Fatalf("Plugins that are in use rely on this, which is gone or changed:\n  %s\n"+
			"Put it back, and add beside it what is new. If that cannot be, raise Version: every plugin must then be built anew.",
			strings.Join(gone, "\n  "))
	case update:
		if err := os.WriteFile(golden, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	case !slices.Equal(then, now):
		t.Fatalf("This is new in the protocol:\n  %s\n"+
			"A plugin of today does not send it, and does not look at it: see that both ends can do without. Then accept it with: UPDATE=1 go test ./plugins/sdk/internal/wire",
			strings.Join(missing(now, then), "\n  "))
	}
}

// missing returns the lines of a that are not in b.
func missing(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return line == "" || slices.Contains(b, line) })
}

func TestMissing(t *testing.T) {
	if got := missing([]string{"a", "b", ""}, []string{"c", "b"}); len(got) != 1 || got[0] != "a" {
		t.Errorf("missing %q", got)
	}
}

// protocol is all that both ends must agree on, one line each, the version first.
func protocol() []string {
	lines := []string{
		fmt.Sprintf("protocol %d", Version),
		fmt.Sprintf("handshake: name %s, %s=%s, %s, largest message %d bytes", Name, CookieKey, CookieValue, ParentKey, MaxMessage),
		fmt.Sprintf("keys: %s, blocks %s, %s, %s, server %s", TLSKey, PEMCertificate, PEMKey, PEMPeer, ServerName),
	}
	file := File_plugin_proto
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			lines = append(lines, fmt.Sprintf("rpc %s(%s%s) returns (%s%s)", m.FullName(),
				stream(m.IsStreamingClient()), m.Input().Name(), stream(m.IsStreamingServer()), m.Output().Name()))
		}
	}
	return messages(lines, file.Messages(), file.Enums())
}

func messages(lines []string, all protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) []string {
	for i := range enums.Len() {
		e := enums.Get(i)
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			lines = append(lines, fmt.Sprintf("enum %s %d %s", e.FullName(), v.Number(), v.Name()))
		}
	}
	for i := range all.Len() {
		m := all.Get(i)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			lines = append(lines, fmt.Sprintf("message %s %d %s %s", m.FullName(), f.Number(), f.Name(), typeOf(f)))
		}
		lines = messages(lines, m.Messages(), m.Enums())
	}
	return lines
}

func typeOf(f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	switch {
	case f.Message() != nil:
		kind = string(f.Message().Name())
	case f.Enum() != nil:
		kind = string(f.Enum().Name())
	}
	if f.ContainingOneof() != nil {
		kind += " in " + string(f.ContainingOneof().Name())
	}
	return f.Cardinality().String() + " " + kind
}

func stream(is bool) string {
	if is {
		return "stream "
	}
	return ""
}
