package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
	"github.com/seed-b96de936/troop/plugins/sdk/proc"
)

// Server returns the protocol's server for a stage. Only Serve and sdktest use it. dial connects to the core's capabilities
// by the number in a call. An error is a mistake of the stage's author.
func Server[C any](stage Stage[C], dial func(broker uint32) (Conn, error)) (wire.PluginServer, error) {
	schema, err := schemaOf(reflect.TypeFor[C]())
	if err != nil {
		return nil, err
	}
	if err := stage.validate(); err != nil {
		return nil, err
	}
	return &server[C]{stage: stage, schema: schema, dial: dial, log: os.Stderr}, nil
}

func (s *Stage[C]) validate() error {
	if !hclsyntax.ValidIdentifier(s.Name) || s.Version == "" {
		return errors.New("a stage needs a name, which must be an identifier, and a version")
	}
	if s.Agent != nil && s.Agent.Watch == nil {
		return errors.New("an agent needs Watch")
	}
	if s.Run == nil && s.Agent == nil && len(s.Actions) == 0 {
		return errors.New("a stage needs Run, an agent or actions")
	}
	seen := map[string]bool{}
	for _, a := range s.Actions {
		if a.Name == "" || a.Run == nil || seen[a.Name] {
			return fmt.Errorf("action %q needs a unique name and Run", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// Conn is a connection to the core's capabilities.
type Conn interface {
	grpc.ClientConnInterface
	Close() error
}

type server[C any] struct {
	wire.UnimplementedPluginServer
	stage  Stage[C]
	schema *blockSchema
	dial   func(uint32) (Conn, error)
	log    io.Writer // for stack traces of panics
	calls  calls
}

func (s *server[C]) Describe(context.Context, *wire.DescribeRequest) (*wire.Description, error) {
	d := contract.Description{
		Name: s.stage.Name, Version: s.stage.Version, Summary: s.stage.Summary,
		Config: s.schema.describe(), Stage: s.stage.Run != nil, Cacheable: s.stage.Cacheable,
		Outputs: s.stage.Outputs, Capabilities: s.stage.Capabilities,
	}
	for _, a := range s.stage.Actions {
		d.Actions = append(d.Actions, contract.Action{Name: a.Name, Summary: a.Summary, Args: a.Args, Capabilities: s.capabilities(a.Capabilities), ReadOnly: a.ReadOnly, Whole: a.Whole})
	}
	if a := s.stage.Agent; a != nil {
		d.Agent = &contract.Agent{
			User: a.User, LinuxCapabilities: a.LinuxCapabilities, Groups: a.Groups, WritablePaths: a.WritablePaths,
			Capabilities: s.capabilities(a.Capabilities),
		}
	}
	return wire.EncodeDescription(d), nil
}

// capabilities returns a face's own capabilities, or the stage's.
func (s *server[C]) capabilities(own []Capability) []Capability {
	if own == nil {
		return s.stage.Capabilities
	}
	return own
}

func (s *server[C]) Check(_ context.Context, r *wire.CheckRequest) (reply *wire.CheckReply, err error) {
	defer s.recover("Check", &err)
	_, diags, err := s.decode(wire.DecodeConfig(r.GetConfig()), true)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &wire.CheckReply{Diagnostics: wire.EncodeDiagnostics(diagnostics(diags))}, nil
}

// decode decodes a block and runs the author's Check. The diagnostics are sorted by position.
func (s *server[C]) decode(c contract.Config, partial bool) (*C, hcl.Diagnostics, error) {
	target := new(C)
	d, body, err := decodeBlock(s.stage.Name, c, s.schema, reflect.ValueOf(target), partial)
	if err != nil {
		return nil, nil, err
	}
	if !d.diags.HasErrors() && s.stage.Check != nil {
		attrs, rest := attrErrors(s.stage.Check(target))
		d.complain(body, attrs, rest)
	}
	slices.SortStableFunc(d.diags, func(a, b *hcl.Diagnostic) int { return startByte(a) - startByte(b) })
	return target, d.diags, nil
}

func startByte(d *hcl.Diagnostic) int {
	if d.Subject == nil {
		return 0
	}
	return d.Subject.Start.Byte
}

// complain converts an author's errors to diagnostics.
func (d *decoder) complain(body *hclsyntax.Body, attrs []*attrError, rest error) {
	summary := "Invalid " + d.stage + " stage"
	for _, a := range attrs {
		if !d.attrUnknown(a.path) {
			d.errorf(place(body, a.path), summary, "%s", a.detail)
		}
	}
	if rest != nil {
		d.errorf(body.MissingItemRange(), summary, "%s", rest.Error())
	}
}

func (s *server[C]) Run(r *wire.RunRequest, stream grpc.ServerStreamingServer[wire.Message]) error {
	if s.stage.Run == nil {
		return status.Errorf(codes.Unimplemented, "plugin %s cannot run as a stage: it has no Run", s.stage.Name)
	}
	return s.work("Run", s.stage.Capabilities, r, stream, s.stage.Run)
}

func (s *server[C]) Watch(r *wire.RunRequest, stream grpc.ServerStreamingServer[wire.Message]) error {
	if s.stage.Agent == nil {
		return status.Errorf(codes.Unimplemented, "plugin %s has no agent", s.stage.Name)
	}
	proc.StaySmall(stream.Context())
	return s.work("Watch", s.capabilities(s.stage.Agent.Capabilities), r, stream, s.stage.Agent.Watch)
}

func (s *server[C]) Call(r *wire.CallRequest, stream grpc.ServerStreamingServer[wire.Message]) error {
	i := slices.IndexFunc(s.stage.Actions, func(a Action[C]) bool { return a.Name == r.GetAction() })
	if i < 0 {
		return status.Errorf(codes.NotFound, "plugin %s has no action %q", s.stage.Name, r.GetAction())
	}
	action := s.stage.Actions[i]
	args, err := completeArgs(action.Args, r.GetArgs())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "action %s: %s", action.Name, err)
	}
	return s.work("Call", s.capabilities(action.Capabilities), r.GetRun(), stream, func(ctx context.Context, c *C, job *Job) error {
		return action.Run(ctx, c, args, job)
	})
}

// completeArgs sets defaults and rejects unknown arguments.
func completeArgs(docs []Arg, given map[string]string) (Args, error) {
	args := Args{}
	for name := range given {
		if !slices.ContainsFunc(docs, func(a Arg) bool { return a.Name == name }) {
			return nil, fmt.Errorf("there is no argument %q", name)
		}
	}
	for _, a := range docs {
		v, ok := given[a.Name]
		switch {
		case ok:
			args[a.Name] = v
		case a.Required:
			return nil, fmt.Errorf("argument %q is missing", a.Name)
		case a.Default != "":
			args[a.Name] = a.Default
		}
	}
	return args, nil
}

// work handles one call: decode, check, run, then the verdict as the stream's last message.
func (s *server[C]) work(face string, declared []Capability, r *wire.RunRequest, stream grpc.ServerStreamingServer[wire.Message], run func(context.Context, *C, *Job) error) (err error) {
	ctx, end := s.calls.begin(stream.Context(), r.GetCall())
	defer end()
	var core grpc.ClientConnInterface
	if id := r.GetCapabilitiesBroker(); id != 0 {
		// At once, although few calls need it: go-plugin drops an address that is not dialled within 5 s.
		conn, err := s.dial(id)
		if err != nil {
			return status.Errorf(codes.Internal, "connect to capabilities: %s", err)
		}
		defer func() { _ = conn.Close() }()
		core = conn
	}
	job := &Job{Info: wire.DecodeRunInfo(r.GetInfo()), Capabilities: capabilities(core, declared), stream: stream}
	defer job.close()

	config := wire.DecodeConfig(r.GetConfig())
	c, diags, err := s.decode(config, false)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if diags.HasErrors() {
		return sendVerdict(job, invalid(diags))
	}
	err = s.guarded(face, func() error { return run(ctx, c, job) })
	if attrs, rest := attrErrors(err); len(attrs) > 0 && rest == nil {
		d, body, err := decodeBlock(s.stage.Name, config, s.schema, reflect.ValueOf(new(C)), false)
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		d.complain(body, attrs, nil)
		return sendVerdict(job, invalid(d.diags))
	}
	var (
		failure *contract.Failure
		skip    *contract.SkipError
	)
	switch {
	case err == nil:
		return sendVerdict(job, nil)
	case errors.As(err, &failure):
		return sendVerdict(job, &contract.Failure{Reason: err.Error(), Diagnostics: failure.Diagnostics})
	case errors.As(err, &skip):
		return sendVerdict(job, skip)
	}
	return wire.EncodeError(err)
}

func invalid(diags hcl.Diagnostics) error {
	return &contract.Failure{Reason: "the configuration is not valid", Diagnostics: diagnostics(diags)}
}

func sendVerdict(job *Job, err error) error {
	return job.send(&wire.Message{Kind: &wire.Message_Result{Result: wire.EncodeVerdict(err)}})
}

// guarded calls the author's code. A panic becomes an error of this call only; its stack trace goes to the log.
func (s *server[C]) guarded(face string, f func() error) (err error) {
	defer s.recover(face, &err)
	return f()
}

func (s *server[C]) recover(face string, err *error) {
	if p := recover(); p != nil {
		fmt.Fprintf(s.log, "panic in %s of plugin %s: %v\n%s", face, s.stage.Name, p, debug.Stack())
		*err = fmt.Errorf("plugin %s panicked in %s: %s", s.stage.Name, face, firstLine(fmt.Sprint(p)))
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return wire.Text(s)
}
