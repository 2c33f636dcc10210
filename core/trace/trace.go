// Package trace tells a collector of OpenTelemetry what a run did and how long each of its stages took. The standard variables
// say where: https://opentelemetry.io/docs/specs/otel/protocol/exporter/. core/project imports it.
package trace

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-b96de936/troop/core"
)

// patience is how long a run waits for a collector at its end.
const patience = 10 * time.Second

// wanted reports whether the variables name a collector.
func wanted() bool {
	return os.Getenv("OTEL_SDK_DISABLED") != "true" && os.Getenv("OTEL_TRACES_EXPORTER") != "none" &&
		cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) != ""
}

// Send sends a run that has ended to the collector, if the variables name one: a span for the run and, below it, one for each stage
// that began. With TRACEPARENT, as of a job of CI, the run is a part of that trace.
func Send(ctx context.Context, r core.Run) error {
	if !wanted() {
		return nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // this function returns it
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	to, err := otlptracehttp.New(ctx)
	if err != nil {
		return fmt.Errorf("trace the run: %w", err)
	}
	what, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "troop")), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return fmt.Errorf("trace the run: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(to), sdk.WithResource(what))
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE")})
	spans(ctx, provider.Tracer("github.com/seed-b96de936/troop"), r)
	if err := provider.ForceFlush(ctx); err != nil {
		return fmt.Errorf("trace the run: %w", err)
	}
	return provider.Shutdown(ctx)
}

// The names of attributes are those of the conventions for CI and CD:
// https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/
func spans(ctx context.Context, t trace.Tracer, r core.Run) {
	ctx, run := t.Start(ctx, r.Pipeline, trace.WithTimestamp(r.Started), trace.WithAttributes(
		attribute.String("cicd.pipeline.name", r.Pipeline), attribute.String("cicd.pipeline.run.id", string(r.ID)),
		attribute.String("cicd.pipeline.result", result(r.Status)), attribute.String("vcs.ref.head.revision", r.Commit),
		attribute.String("vcs.ref.head.name", cmp.Or(r.Tag, r.Branch)), attribute.String("deployment.environment.name", r.Environment),
	))
	for _, s := range r.Stages {
		if s.Started.IsZero() {
			continue
		}
		_, stage := t.Start(ctx, string(s.ID), trace.WithTimestamp(s.Started), trace.WithAttributes(
			attribute.String("cicd.pipeline.task.name", string(s.ID)), attribute.String("cicd.pipeline.task.run.result", result(s.Status)),
			attribute.Int("troop.attempts", s.Attempts), attribute.String("troop.reused", string(s.Reused)),
		))
		end(stage, s.Status, s.Reason, s.Ended)
	}
	end(run, r.Status, r.Reason, r.Ended)
}

func end(s trace.Span, status core.Status, reason string, at time.Time) {
	if !status.Passed() && status != core.Skipped {
		s.SetStatus(codes.Error, reason)
	}
	if at.IsZero() { // it was interrupted
		at = time.Now()
	}
	s.End(trace.WithTimestamp(at))
}

// result is the status in the words of the conventions.
func result(s core.Status) string {
	switch {
	case s.Passed():
		return "success"
	case s == core.Skipped:
		return "skip"
	case s == core.Cancelled:
		return "cancellation"
	}
	return "failure"
}
