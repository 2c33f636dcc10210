package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// Both sides of the capabilities: Remote is the client in the plugin, Serve the server in the core.

// Remote returns a client of the capabilities at the other end of a connection.
func Remote(conn grpc.ClientConnInterface) contract.Capabilities {
	return remote{NewCapabilitiesClient(conn)}
}

type remote struct{ rpc CapabilitiesClient }

// failed decodes an error, adds what was requested, and returns the cause of a cancelled call.
func failed(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w", what, DecodeError(err))
}

// receive calls each with every message, until the stream ends or each returns an error.
func receive[T any](s grpc.ServerStreamingClient[T], each func(*T) error) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return streamError{err}
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

// streamError is an error of the stream itself, not of each.
type streamError struct{ error }

// consume opens a stream and passes its messages to each. An error of each is returned unchanged.
func consume[T any](ctx context.Context, what string, open func(context.Context) (grpc.ServerStreamingClient[T], error), each func(*T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := open(ctx)
	if err != nil {
		return failed(ctx, what, err)
	}
	err = receive(s, each)
	if broken, ok := errors.AsType[streamError](err); ok {
		return failed(ctx, what, broken.error)
	}
	return err
}

func (r remote) Hosts(ctx context.Context) ([]contract.Host, error) {
	reply, err := r.rpc.Inventory(ctx, &InventoryRequest{})
	return list(reply.GetHosts(), decodeHost), failed(ctx, "read inventory", err)
}

func (r remote) Playbook(ctx context.Context, p contract.PlaybookRun, each func(contract.TaskResult)) error {
	request, err := encodePlaybook(p)
	if err != nil {
		return err
	}
	return tasks(ctx, "run playbook "+p.Name, each, func(ctx context.Context) (grpc.ServerStreamingClient[TaskResult], error) {
		return r.rpc.Playbook(ctx, request)
	})
}

func (r remote) InstallAgent(ctx context.Context, hosts []contract.HostName, each func(contract.TaskResult)) error {
	return tasks(ctx, "install agent", each, func(ctx context.Context) (grpc.ServerStreamingClient[TaskResult], error) {
		return r.rpc.InstallAgent(ctx, &InstallAgentRequest{Hosts: texts[string](hosts)})
	})
}

func tasks(ctx context.Context, what string, each func(contract.TaskResult), open func(context.Context) (grpc.ServerStreamingClient[TaskResult], error)) error {
	return consume(ctx, what, open, func(w *TaskResult) error {
		t, err := decodeTask(w)
		if err == nil && each != nil {
			each(t)
		}
		return err
	})
}

func (r remote) PutArtifact(ctx context.Context, path string) (contract.Artifact, error) {
	a, err := r.rpc.PutArtifact(ctx, &PutArtifactRequest{Path: path})
	return decodeArtifact(a), failed(ctx, "store artifact", err)
}

func (r remote) Artifact(ctx context.Context, d contract.Digest) (contract.Artifact, error) {
	a, err := r.rpc.GetArtifact(ctx, &GetArtifactRequest{Digest: string(d)})
	return decodeArtifact(a), failed(ctx, "find artifact "+string(d), err)
}

func (r remote) Flag(ctx context.Context, name string) (any, error) {
	f, err := r.rpc.GetFlag(ctx, &GetFlagRequest{Name: name})
	if err != nil {
		return nil, failed(ctx, "read flag "+name, err)
	}
	return decodeFlag(f)
}

func (r remote) SetFlag(ctx context.Context, name string, v any) error {
	f, err := encodeFlag(name, v)
	if err != nil {
		return err
	}
	_, err = r.rpc.SetFlag(ctx, f)
	return failed(ctx, "set flag "+name, err)
}

func (r remote) State(ctx context.Context, key string) (contract.Entry, error) {
	e, err := r.rpc.GetState(ctx, &GetStateRequest{Key: key})
	if err != nil {
		return contract.Entry{}, failed(ctx, "read state "+key, err)
	}
	return contract.Entry{Key: key, Value: e.GetValue(), Version: e.GetVersion()}, nil
}

func (r remote) SetState(ctx context.Context, key string, value []byte) (contract.Entry, error) {
	e, err := r.rpc.SetState(ctx, &StateEntry{Key: key, Value: value})
	if err != nil {
		return contract.Entry{}, failed(ctx, "set state "+key, err)
	}
	return contract.Entry{Key: key, Value: value, Version: e.GetVersion()}, nil
}

func (r remote) WatchState(ctx context.Context, prefix string, each func(contract.Entry) error) error {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[StateEntry], error) {
		return r.rpc.WatchState(ctx, &WatchStateRequest{Prefix: prefix})
	}
	err := consume(ctx, "watch state "+prefix, open, func(w *StateEntry) error { return each(decodeEntry(w)) })
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func (r remote) Publish(ctx context.Context, e contract.Event) error {
	w, err := EncodeEvent(e)
	if err != nil {
		return err
	}
	_, err = r.rpc.Publish(ctx, w)
	return failed(ctx, "publish event", err)
}

func (r remote) Notify(ctx context.Context, e contract.Event) error {
	w, err := EncodeEvent(e)
	if err != nil {
		return err
	}
	_, err = r.rpc.Notify(ctx, w)
	return failed(ctx, "notify", err)
}

func (r remote) Subscribe(ctx context.Context, f contract.EventFilter, each func(contract.Event) error) error {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[Event], error) {
		return r.rpc.Subscribe(ctx, encodeFilter(f))
	}
	err := consume(ctx, "subscribe to events", open, func(w *Event) error {
		e, err := DecodeEvent(w)
		if err != nil {
			return err
		}
		return each(e)
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func (r remote) Secret(ctx context.Context, name string) (string, error) {
	reply, err := r.rpc.Secret(ctx, &SecretRequest{Name: name})
	return reply.GetValue(), failed(ctx, "read secret "+name, err)
}

func (r remote) StorageKey(ctx context.Context) (contract.StorageKey, error) {
	reply, err := r.rpc.StorageKey(ctx, &StorageKeyRequest{})
	key := contract.StorageKey{
		PrivateKey: reply.GetPrivateKey(), KnownHosts: reply.GetKnownHosts(), AccessKeyID: reply.GetAccessKeyId(), SecretAccessKey: reply.GetSecretAccessKey(),
	}
	return key, failed(ctx, "read key of the storage host", err)
}

// Serve returns a server of capabilities for a plugin.
func Serve(c contract.Capabilities) CapabilitiesServer { return &served{to: c} }

type served struct {
	UnimplementedCapabilitiesServer
	to contract.Capabilities
}

// reply returns the message or an encoded error.
func reply[T any](message *T, err error) (*T, error) {
	if err != nil {
		return nil, EncodeError(err)
	}
	return message, nil
}

// malformed rejects a request that cannot be decoded.
func malformed(err error) error { return status.Error(codes.InvalidArgument, Text(err.Error())) }

func (s *served) Inventory(ctx context.Context, _ *InventoryRequest) (*InventoryReply, error) {
	hosts, err := s.to.Hosts(ctx)
	return reply(&InventoryReply{Hosts: list(hosts, encodeHost)}, err)
}

func (s *served) Playbook(r *PlaybookRequest, stream grpc.ServerStreamingServer[TaskResult]) error {
	p, err := decodePlaybook(r)
	if err != nil {
		return malformed(err)
	}
	return sendTasks(stream, func(each func(contract.TaskResult)) error { return s.to.Playbook(stream.Context(), p, each) })
}

func (s *served) InstallAgent(r *InstallAgentRequest, stream grpc.ServerStreamingServer[TaskResult]) error {
	hosts := texts[contract.HostName](r.GetHosts())
	return sendTasks(stream, func(each func(contract.TaskResult)) error { return s.to.InstallAgent(stream.Context(), hosts, each) })
}

// sendTasks sends results as they arrive, from any goroutine.
func sendTasks(stream grpc.ServerStreamingServer[TaskResult], run func(each func(contract.TaskResult)) error) error {
	var mu sync.Mutex
	var sendErr error
	err := run(func(t contract.TaskResult) {
		mu.Lock()
		defer mu.Unlock()
		if sendErr != nil {
			return
		}
		w, err := encodeTask(t)
		if err == nil {
			err = stream.Send(w)
		}
		sendErr = err
	})
	mu.Lock()
	defer mu.Unlock()
	return EncodeError(errors.Join(err, sendErr))
}

func (s *served) PutArtifact(ctx context.Context, r *PutArtifactRequest) (*Artifact, error) {
	a, err := s.to.PutArtifact(ctx, r.GetPath())
	return reply(encodeArtifact(a), err)
}

func (s *served) GetArtifact(ctx context.Context, r *GetArtifactRequest) (*Artifact, error) {
	a, err := s.to.Artifact(ctx, contract.Digest(r.GetDigest()))
	return reply(encodeArtifact(a), err)
}

func (s *served) GetFlag(ctx context.Context, r *GetFlagRequest) (*Flag, error) {
	v, err := s.to.Flag(ctx, r.GetName())
	if err != nil || v == nil {
		return reply(&Flag{Name: r.GetName()}, err)
	}
	return reply(encodeFlag(r.GetName(), v))
}

func (s *served) SetFlag(ctx context.Context, r *Flag) (*Flag, error) {
	v, err := decodeFlag(r)
	if err != nil {
		return nil, malformed(err)
	}
	return reply(r, s.to.SetFlag(ctx, r.GetName(), v))
}

func (s *served) GetState(ctx context.Context, r *GetStateRequest) (*StateEntry, error) {
	e, err := s.to.State(ctx, r.GetKey())
	return reply(encodeEntry(e), err)
}

func (s *served) SetState(ctx context.Context, r *StateEntry) (*StateEntry, error) {
	e, err := s.to.SetState(ctx, r.GetKey(), r.GetValue())
	e.Value = nil // the plugin already has it
	return reply(encodeEntry(e), err)
}

func (s *served) WatchState(r *WatchStateRequest, stream grpc.ServerStreamingServer[StateEntry]) error {
	return EncodeError(s.to.WatchState(stream.Context(), r.GetPrefix(), func(e contract.Entry) error { return stream.Send(encodeEntry(e)) }))
}

func (s *served) Publish(ctx context.Context, r *Event) (*PublishReply, error) {
	return tell(ctx, r, s.to.Publish)
}

func (s *served) Notify(ctx context.Context, r *Event) (*PublishReply, error) {
	return tell(ctx, r, s.to.Notify)
}

func tell(ctx context.Context, r *Event, call func(context.Context, contract.Event) error) (*PublishReply, error) {
	e, err := DecodeEvent(r)
	if err != nil {
		return nil, malformed(err)
	}
	return reply(&PublishReply{Id: e.ID}, call(ctx, e))
}

func (s *served) Subscribe(r *SubscribeRequest, stream grpc.ServerStreamingServer[Event]) error {
	return EncodeError(s.to.Subscribe(stream.Context(), decodeFilter(r), func(e contract.Event) error {
		w, err := EncodeEvent(e)
		if err != nil {
			return err
		}
		return stream.Send(w)
	}))
}

func (s *served) Secret(ctx context.Context, r *SecretRequest) (*SecretReply, error) {
	v, err := s.to.Secret(ctx, r.GetName())
	return reply(&SecretReply{Value: v}, err)
}

func (s *served) StorageKey(ctx context.Context, _ *StorageKeyRequest) (*StorageKeyReply, error) {
	key, err := s.to.StorageKey(ctx)
	return reply(&StorageKeyReply{
		PrivateKey: key.PrivateKey, KnownHosts: key.KnownHosts, AccessKeyId: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey,
	}, err)
}
