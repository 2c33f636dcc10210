package wire

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed-b96de936/troop/plugins/sdk/contract"
)

// kinds are the error kinds that survive the protocol, with their encoding.
func kinds() []kind {
	return []kind{
		{contract.ErrNotFound, codes.NotFound, ErrorInfo_NOT_FOUND},
		{contract.ErrRefused, codes.PermissionDenied, ErrorInfo_REFUSED},
		{context.Canceled, codes.Canceled, ErrorInfo_CANCELLED},
		{context.DeadlineExceeded, codes.DeadlineExceeded, ErrorInfo_TIMED_OUT},
		{contract.ErrUnavailable, codes.Unavailable, ErrorInfo_UNAVAILABLE},
	}
}

type kind struct {
	is   error
	code codes.Code
	info ErrorInfo_Kind
}

// kindOf returns the kind of an error. A network timeout is ErrUnavailable.
func kindOf(err error) (kind, bool) {
	for _, k := range kinds() {
		if errors.Is(err, k.is) {
			return k, true
		}
	}
	if network := net.Error(nil); errors.As(err, &network) {
		return kindOf(contract.ErrUnavailable)
	}
	return kind{code: codes.Unknown}, false
}

// EncodeError converts an error to a status with its text and kind.
func EncodeError(err error) error {
	if err == nil {
		return nil
	}
	k, ok := kindOf(err)
	s := status.New(k.code, Text(err.Error()))
	if !ok {
		return s.Err()
	}
	info := &ErrorInfo{Kind: k.info}
	if missing := (*contract.NotFoundError)(nil); errors.As(err, &missing) {
		info.What, info.Name, info.Remedy = Text(missing.What), Text(missing.Name), Text(missing.Remedy)
	}
	if detailed, err := s.WithDetails(info); err == nil { // else only the code carries the kind
		s = detailed
	}
	return s.Err()
}

// DecodeError converts a status back to an error. Kind may be nil. Errors of the transport itself, such as a cancelled call,
// have the same kinds; see FromTransport.
func DecodeError(err error) *contract.Error {
	s, ok := status.FromError(err)
	if !ok {
		return &contract.Error{Kind: err, Text: err.Error()}
	}
	e := &contract.Error{Text: s.Message()}
	for _, k := range kinds() {
		if k.code == s.Code() {
			e.Kind = k.is
		}
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*ErrorInfo); ok {
			e.Kind = decodeKind(info)
		}
	}
	return e
}

// FromTransport reports whether an error may be the transport's own, such as a lost connection or a cancelled call, instead
// of one that the other side returned.
func FromTransport(err error) bool {
	s, ok := status.FromError(err)
	return !ok || (len(s.Details()) == 0 && (s.Code() == codes.Unavailable || s.Code() == codes.Canceled))
}

func decodeKind(info *ErrorInfo) error {
	for _, k := range kinds() {
		switch {
		case k.info != info.GetKind():
		case info.GetWhat() != "":
			return &contract.NotFoundError{What: info.GetWhat(), Name: info.GetName(), Remedy: info.GetRemedy()}
		default:
			return k.is
		}
	}
	return nil // of a later protocol
}
