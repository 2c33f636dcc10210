package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk"
	"github.com/seed-b96de936/troop/plugins/sdk/internal/wire"
)

// serve offers the capabilities that the plugin declares, for one call.
func (p *Plugin) serve(caps Capabilities) (broker uint32, stop func(), err error) {
	s := &capabilityServer{caps: caps, declared: p.desc.Capabilities, plugin: p.desc.Name}
	return p.link.Serve(func(r grpc.ServiceRegistrar) { wire.RegisterCapabilitiesServer(r, s) })
}

// capabilityServer is what a plugin sees of the core during one call.
type capabilityServer struct {
	wire.UnimplementedCapabilitiesServer
	caps     Capabilities
	declared []sdk.Capability
	plugin   string
}

// allow refuses what the plugin did not declare, whatever its SDK thinks of it.
func (s *capabilityServer) allow(c sdk.Capability) error {
	if slices.Contains(s.declared, c) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "plugin %s does not declare the capability %q", s.plugin, c)
}

// answer turns the core's error into one for the plugin's author to read.
func answer(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unknown, err.Error())
}

func (s *capabilityServer) Inventory(ctx context.Context, _ *wire.InventoryRequest) (*wire.InventoryReply, error) {
	if err := s.allow(sdk.Inventory); err != nil {
		return nil, err
	}
	hosts, err := s.caps.Hosts(ctx)
	if err != nil {
		return nil, answer(err)
	}
	r := &wire.InventoryReply{}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, &wire.Host{
			Name: h.Name, Role: h.Role, Address: h.Address, PrivateAddress: h.PrivateAddress, User: h.User, Port: int32(h.Port),
		})
	}
	return r, nil
}

func (s *capabilityServer) Playbook(r *wire.PlaybookRequest, stream grpc.ServerStreamingServer[wire.TaskResult]) error {
	if err := s.allow(sdk.Playbook); err != nil {
		return err
	}
	run := sdk.PlaybookRun{Name: r.GetName(), Hosts: r.GetHosts()}
	if b := r.GetVarsJson(); len(b) > 0 {
		if err := json.Unmarshal(b, &run.Vars); err != nil {
			return status.Errorf(codes.InvalidArgument, "decode variables: %s", err)
		}
	}
	return streamTasks(stream, func(each func(sdk.TaskResult)) error { return s.caps.Playbook(stream.Context(), run, each) })
}

func (s *capabilityServer) InstallAgent(r *wire.InstallAgentRequest, stream grpc.ServerStreamingServer[wire.TaskResult]) error {
	if err := s.allow(sdk.Agents); err != nil {
		return err
	}
	return streamTasks(stream, func(each func(sdk.TaskResult)) error {
		return s.caps.InstallAgent(stream.Context(), r.GetHosts(), each)
	})
}

// streamTasks sends results as they come, from whichever goroutine.
func streamTasks(stream grpc.ServerStreamingServer[wire.TaskResult], run func(each func(sdk.TaskResult)) error) error {
	var mu sync.Mutex
	var sendErr error
	err := run(func(t sdk.TaskResult) {
		mu.Lock()
		defer mu.Unlock()
		if sendErr != nil {
			return
		}
		w, err := taskToWire(t)
		if err == nil {
			err = stream.Send(w)
		}
		sendErr = err
	})
	mu.Lock()
	defer mu.Unlock()
	return answer(errors.Join(err, sendErr))
}

func (s *capabilityServer) PutArtifact(ctx context.Context, r *wire.PutArtifactRequest) (*wire.Artifact, error) {
	if err := s.allow(sdk.Artifacts); err != nil {
		return nil, err
	}
	a, err := s.caps.PutArtifact(ctx, r.GetPath())
	return artifactToWire(a), answer(err)
}

func (s *capabilityServer) GetArtifact(ctx context.Context, r *wire.GetArtifactRequest) (*wire.Artifact, error) {
	if err := s.allow(sdk.Artifacts); err != nil {
		return nil, err
	}
	a, err := s.caps.Artifact(ctx, r.GetDigest())
	return artifactToWire(a), answer(err)
}

func (s *capabilityServer) GetFlag(ctx context.Context, r *wire.GetFlagRequest) (*wire.Flag, error) {
	if err := s.allow(sdk.Flags); err != nil {
		return nil, err
	}
	v, err := s.caps.Flag(ctx, r.GetName())
	if err != nil || v == nil {
		return &wire.Flag{Name: r.GetName()}, answer(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, answer(fmt.Errorf("encode flag %s: %w", r.GetName(), err))
	}
	return &wire.Flag{Name: r.GetName(), Json: b}, nil
}

func (s *capabilityServer) SetFlag(ctx context.Context, r *wire.Flag) (*wire.Flag, error) {
	if err := s.allow(sdk.Flags); err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(r.GetJson(), &v); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "decode flag %s: %s", r.GetName(), err)
	}
	return r, answer(s.caps.SetFlag(ctx, r.GetName(), v))
}

func (s *capabilityServer) GetState(ctx context.Context, r *wire.GetStateRequest) (*wire.StateEntry, error) {
	if err := s.allow(sdk.State); err != nil {
		return nil, err
	}
	e, err := s.caps.State(ctx, r.GetKey())
	return entryToWire(e), answer(err)
}

func (s *capabilityServer) SetState(ctx context.Context, r *wire.StateEntry) (*wire.StateEntry, error) {
	if err := s.allow(sdk.State); err != nil {
		return nil, err
	}
	e, err := s.caps.SetState(ctx, r.GetKey(), r.GetValue())
	return &wire.StateEntry{Key: e.Key, Version: e.Version}, answer(err)
}

func (s *capabilityServer) WatchState(r *wire.WatchStateRequest, stream grpc.ServerStreamingServer[wire.StateEntry]) error {
	if err := s.allow(sdk.State); err != nil {
		return err
	}
	return answer(s.caps.WatchState(stream.Context(), r.GetPrefix(), func(e sdk.Entry) error { return stream.Send(entryToWire(e)) }))
}

func (s *capabilityServer) Publish(ctx context.Context, r *wire.Event) (*wire.PublishReply, error) {
	return s.tell(ctx, sdk.Events, r, s.caps.Publish)
}

func (s *capabilityServer) Notify(ctx context.Context, r *wire.Event) (*wire.PublishReply, error) {
	return s.tell(ctx, sdk.Notify, r, s.caps.Notify)
}

func (s *capabilityServer) tell(ctx context.Context, c sdk.Capability, r *wire.Event, call func(context.Context, sdk.Event) error) (*wire.PublishReply, error) {
	if err := s.allow(c); err != nil {
		return nil, err
	}
	e, err := eventFromWire(r)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &wire.PublishReply{Id: e.ID}, answer(call(ctx, e))
}

func (s *capabilityServer) Subscribe(r *wire.SubscribeRequest, stream grpc.ServerStreamingServer[wire.Event]) error {
	if err := s.allow(sdk.Events); err != nil {
		return err
	}
	f := sdk.EventFilter{Kinds: r.GetKinds()}
	for _, x := range r.GetSeverities() {
		f.Severities = append(f.Severities, sdk.Severity(x))
	}
	if n := r.GetSinceUnixNano(); n != 0 {
		f.Since = time.Unix(0, n)
	}
	return answer(s.caps.Subscribe(stream.Context(), f, func(e sdk.Event) error {
		w, err := eventToWire(e)
		if err != nil {
			return err
		}
		return stream.Send(w)
	}))
}

func (s *capabilityServer) Secret(ctx context.Context, r *wire.SecretRequest) (*wire.SecretReply, error) {
	if err := s.allow(sdk.Secrets); err != nil {
		return nil, err
	}
	v, err := s.caps.Secret(ctx, r.GetName())
	return &wire.SecretReply{Value: v}, answer(err)
}
