package wire

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// filler gives every field of a value, however deep, a value of its own.
type filler struct {
	n    int
	seen map[reflect.Type]bool // structs
}

// filled returns a T without a zero field. It is the same each time.
func filled[T any]() T {
	var v T
	(&filler{seen: map[reflect.Type]bool{}}).fill(reflect.ValueOf(&v).Elem(), 0)
	return v
}

// maxDepth ends types that contain themselves.
const maxDepth = 8

func (f *filler) fill(v reflect.Value, depth int) {
	f.n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(f.n), 5)))
		return
	case []byte:
		v.SetBytes([]byte{byte(f.n)})
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Float64:
		v.SetFloat(float64(f.n) + 0.5)
	case reflect.Interface: // any, as JSON has it
		v.Set(reflect.ValueOf(map[string]any{"list": []any{float64(f.n), "text", true, nil}}))
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.String {
			v.Set(reflect.ValueOf(map[string]string{"name": fmt.Sprintf("text %d", f.n)}))
			return
		}
		v.Set(reflect.ValueOf(map[string]any{"number": float64(f.n), "nested": map[string]any{"text": "x"}}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth+1)
	case reflect.Slice:
		if depth > maxDepth {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Struct:
		f.seen[v.Type()] = true
		for _, field := range v.Fields() {
			f.fill(field, depth+1)
		}
	default:
		panic("the test cannot fill a " + v.Type().String())
	}
}

// through sends a message as the protocol does.
func through[T any, M interface {
	*T
	proto.Message
}](t *testing.T, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	again := M(new(T))
	if err := proto.Unmarshal(b, again); err != nil {
		t.Fatal(err)
	}
	return again
}

// TestRoundTrip sends values of the contract's types, with every field set, through the protocol: nothing is lost.
func TestRoundTrip(t *testing.T) {
	compare := func(want, got any) {
		t.Helper()
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%T was sent as\n%+v\nand came as\n%+v", want, want, got)
		}
	}
	config := filled[contract.Config]()
	config.Scope.Secrets = nil // they stay with the core
	compare(config, DecodeConfig(through(t, EncodeConfig(config))))
	info := filled[contract.RunInfo]()
	compare(info, DecodeRunInfo(through(t, EncodeRunInfo(info))))
	description := filled[contract.Description]()
	compare(description, DecodeDescription(through(t, EncodeDescription(description))))
	diagnostics := filled[contract.Diagnostics]()
	compare(diagnostics, DecodeDiagnostics(through(t, &CheckReply{Diagnostics: EncodeDiagnostics(diagnostics)}).GetDiagnostics()))
	failure, skip := filled[*contract.Failure](), filled[*contract.SkipError]()
	compare(failure, DecodeVerdict(through(t, EncodeVerdict(failure))))
	compare(skip, DecodeVerdict(through(t, EncodeVerdict(skip))))
	compare(nil, DecodeVerdict(through(t, EncodeVerdict(nil))))
	all := filled[contract.Message]()
	for i := range reflect.TypeFor[contract.Message]().NumField() {
		var one contract.Message
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(all).Field(i))
		w, err := EncodeMessage(one)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMessage(through(t, w))
		if err != nil {
			t.Fatal(err)
		}
		compare(one, got)
	}
}

// TestZero sends empty values: nothing appears.
func TestZero(t *testing.T) {
	if got := DecodeDescription(through(t, EncodeDescription(contract.Description{}))); !reflect.DeepEqual(got, contract.Description{}) {
		t.Errorf("description %+v", got)
	}
	e, err := EncodeEvent(contract.Event{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeEvent(through(t, e)); err != nil || !reflect.DeepEqual(got, contract.Event{}) {
		t.Errorf("event %+v, %v", got, err)
	}
}

// recorder is a core that remembers what it is asked and answers with values that have every field set. It must
// implement every method: those of NoCapabilities refuse.
type recorder struct {
	contract.NoCapabilities
	got []any
	err error // what every call fails with; nil: it does not
}

func (r *recorder) record(args ...any) error {
	r.got = args
	return r.err
}

// twice gives a stream two values.
func twice[T any](r *recorder, each func(T) error, args ...any) error {
	if err := r.record(args...); err != nil {
		return err
	}
	return errors.Join(each(filled[T]()), each(filled[T]()))
}

func always[T any](each func(T)) func(T) error { return func(x T) error { each(x); return nil } }

func (r *recorder) Hosts(context.Context) ([]contract.Host, error) {
	return filled[[]contract.Host](), r.record()
}

func (r *recorder) Playbook(_ context.Context, p contract.PlaybookRun, each func(contract.TaskResult)) error {
	return twice(r, always(each), p)
}

func (r *recorder) InstallAgent(_ context.Context, hosts []contract.HostName, each func(contract.TaskResult)) error {
	return twice(r, always(each), hosts)
}

func (r *recorder) PutArtifact(_ context.Context, path string) (contract.Artifact, error) {
	return filled[contract.Artifact](), r.record(path)
}

func (r *recorder) Artifact(_ context.Context, d contract.Digest) (contract.Artifact, error) {
	return filled[contract.Artifact](), r.record(d)
}

func (r *recorder) Flag(_ context.Context, name string) (any, error) {
	return filled[any](), r.record(name)
}

func (r *recorder) SetFlag(_ context.Context, name string, v any) error { return r.record(name, v) }

func (r *recorder) State(_ context.Context, key string) (contract.Entry, error) {
	e := filled[contract.Entry]()
	e.Key = key
	return e, r.record(key)
}

func (r *recorder) SetState(_ context.Context, key string, value []byte) (contract.Entry, error) {
	e := filled[contract.Entry]()
	e.Key, e.Value = key, value
	return e, r.record(key, value)
}

func (r *recorder) WatchState(_ context.Context, prefix string, each func(contract.Entry) error) error {
	return twice(r, each, prefix)
}

func (r *recorder) Publish(_ context.Context, e contract.Event) error { return r.record(e) }
func (r *recorder) Notify(_ context.Context, e contract.Event) error  { return r.record(e) }

func (r *recorder) Subscribe(_ context.Context, f contract.EventFilter, each func(contract.Event) error) error {
	return twice(r, each, f)
}

func (r *recorder) Secret(_ context.Context, name string) (string, error) {
	return filled[string](), r.record(name)
}

func (r *recorder) StorageKey(context.Context) (contract.StorageKey, error) {
	return filled[contract.StorageKey](), r.record()
}

// connected returns c as the other end of a gRPC connection sees it.
func connected(t *testing.T, c contract.Capabilities) contract.Capabilities {
	t.Helper()
	l, s := bufconn.Listen(1<<20), grpc.NewServer()
	RegisterCapabilitiesServer(s, Serve(c))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:here", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return Remote(conn)
}

// asked is one call of a capability, with every argument set.
type asked struct {
	args   []any // without the context and the listener
	result any   // nil: only an error
	each   []any // what the listener got
	err    error
}

func ask(t *testing.T, c contract.Capabilities, method string) asked {
	t.Helper()
	m := reflect.ValueOf(c).MethodByName(method)
	in := []reflect.Value{reflect.ValueOf(t.Context())}
	f := &filler{seen: map[reflect.Type]bool{}}
	var a asked
	for i := 1; i < m.Type().NumIn(); i++ {
		typ := m.Type().In(i)
		if typ.Kind() == reflect.Func {
			in = append(in, reflect.MakeFunc(typ, func(args []reflect.Value) []reflect.Value {
				a.each = append(a.each, args[0].Interface())
				if typ.NumOut() == 0 {
					return nil
				}
				return []reflect.Value{reflect.Zero(typ.Out(0))}
			}))
			continue
		}
		v := reflect.New(typ).Elem()
		f.fill(v, 0)
		in, a.args = append(in, v), append(a.args, v.Interface())
	}
	out := m.Call(in)
	if len(out) == 2 {
		a.result = out[0].Interface()
	}
	a.err, _ = reflect.TypeAssert[error](out[len(out)-1])
	return a
}

func eachCapability(t *testing.T, test func(t *testing.T, method string)) {
	methods := reflect.TypeFor[contract.Capabilities]()
	for m := range methods.Methods() {
		t.Run(m.Name, func(t *testing.T) { test(t, m.Name) })
	}
}

// TestCapabilities asks for every service over a connection, with every field of every argument and result set.
func TestCapabilities(t *testing.T) {
	eachCapability(t, func(t *testing.T, method string) {
		direct, core := new(recorder), new(recorder)
		want, got := ask(t, direct, method), ask(t, connected(t, core), method)
		if got.err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("over the connection\n%+v\nwithout it\n%+v", got, want)
		}
		if !reflect.DeepEqual(core.got, direct.got) || len(core.got) != len(want.args) {
			t.Errorf("asked for\n%+v\nwant\n%+v", core.got, direct.got)
		}
	})
}

// TestErrorKinds lets every service fail: the plugin can tell what kind of failure it is.
func TestErrorKinds(t *testing.T) {
	missing := &contract.NotFoundError{What: "flag", Name: "fast", Remedy: "there is slow"}
	kinds := map[string]struct{ err, is error }{
		"not found":           {missing, contract.ErrNotFound},
		"not found, wrapped":  {fmt.Errorf("look: %w", missing), contract.ErrNotFound},
		"not found, no name":  {&contract.Error{Kind: contract.ErrNotFound, Text: "nothing there"}, contract.ErrNotFound},
		"refused":             {&contract.Error{Kind: contract.ErrRefused, Text: "not for you"}, contract.ErrRefused},
		"unavailable":         {fmt.Errorf("redis: %w", contract.ErrUnavailable), contract.ErrUnavailable},
		"network":             {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, contract.ErrUnavailable},
		"cancelled":           {fmt.Errorf("interrupted: %w", context.Canceled), context.Canceled},
		"timed out":           {fmt.Errorf("too slow: %w", context.DeadlineExceeded), context.DeadlineExceeded},
		"of no kind":          {errors.New("the disk is on fire"), nil},
		"text that is no utf": {&contract.Error{Kind: contract.ErrRefused, Text: "no \xff"}, contract.ErrRefused},
	}
	all := []error{contract.ErrNotFound, contract.ErrRefused, contract.ErrUnavailable, context.Canceled, context.DeadlineExceeded}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			eachCapability(t, func(t *testing.T, method string) {
				err := ask(t, connected(t, &recorder{err: kind.err}), method).err
				if err == nil || !strings.HasSuffix(err.Error(), ": "+Text(kind.err.Error())) || strings.Contains(err.Error(), "rpc error") {
					t.Errorf("text %q, want %q at its end", err, kind.err)
				}
				for _, k := range all {
					if errors.Is(err, k) != errors.Is(kind.is, k) {
						t.Errorf("%q is of the kind %q: %v", err, k, errors.Is(err, k))
					}
				}
				if want, ok := errors.AsType[*contract.NotFoundError](kind.err); ok {
					if got, ok := errors.AsType[*contract.NotFoundError](err); !ok || *got != *want {
						t.Errorf("not found: %+v, want %+v", got, want)
					}
				}
			})
		})
	}
}

// TestEveryType sees that no type of the contract is left out of the tests above.
func TestEveryType(t *testing.T) {
	f := &filler{seen: map[reflect.Type]bool{}}
	visit := func(typ reflect.Type) {
		if typ.Kind() != reflect.Func && typ != reflect.TypeFor[context.Context]() && typ != reflect.TypeFor[error]() {
			f.fill(reflect.New(typ).Elem(), 0)
		}
	}
	visit(reflect.TypeFor[contract.Config]())
	visit(reflect.TypeFor[contract.RunInfo]())
	visit(reflect.TypeFor[contract.Description]())
	visit(reflect.TypeFor[contract.Failure]())
	visit(reflect.TypeFor[contract.SkipError]())
	visit(reflect.TypeFor[contract.Message]())
	methods := reflect.TypeFor[contract.Capabilities]()
	for m := range methods.Methods() {
		for in := range m.Type.Ins() {
			visit(in)
			if in.Kind() == reflect.Func {
				visit(in.In(0))
			}
		}
		for out := range m.Type.Outs() {
			visit(out)
		}
	}
	seen := []string{
		"Job",                    // Config and RunInfo; its capabilities are a connection
		"NoCapabilities",         // no data
		"Error", "NotFoundError", // in TestErrorKinds
	}
	for typ := range f.seen {
		seen = append(seen, typ.Name())
	}
	files, err := filepath.Glob("../../contract/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && s.Name.IsExported() {
				if _, isStruct := s.Type.(*ast.StructType); isStruct && !slices.Contains(seen, s.Name.Name) {
					t.Errorf("%s: the type %s is sent by no test", file, s.Name.Name)
				}
			}
			return true
		})
	}
}
