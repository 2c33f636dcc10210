package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// AwayError says that an environment's Redis does not answer, or not yet.
type AwayError struct {
	Environment string
	Err         error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("the Redis of environment %s does not answer; the hosts go on as they are (on the router: systemctl status redis-server): %v", e.Environment, e.Err)
}

func (e *AwayError) Unwrap() error { return e.Err }

// away is a hook that tells Redis's silence from its answers.
type away struct{ environment string }

func (away) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a away) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return a.wrap(ctx, next(ctx, cmd)) }
}

func (a away) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return a.wrap(ctx, next(ctx, cmds)) }
}

func (a away) wrap(ctx context.Context, err error) error {
	_, said := errors.AsType[redis.Error](err)
	switch {
	case err == nil, errors.Is(context.Cause(ctx), context.Canceled), errors.Is(err, redis.ErrClosed), said && !redis.HasErrorPrefix(err, "LOADING"):
		return err
	}
	return &AwayError{a.environment, err}
}
