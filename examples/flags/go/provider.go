package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
)

// provider is an OpenFeature provider that asks an OFREP server for every evaluation.
type provider struct {
	endpoint string // such as http://127.0.0.1:8016
	client   http.Client
}

func newProvider(endpoint string) *provider {
	return &provider{endpoint, http.Client{Timeout: time.Second}}
}

func (p *provider) Metadata() openfeature.Metadata { return openfeature.Metadata{Name: "OFREP"} }
func (p *provider) Hooks() []openfeature.Hook      { return nil }

// answer is what the server says.
type answer struct {
	Value    any            `json:"value"`
	Reason   string         `json:"reason"`
	Variant  string         `json:"variant"`
	Metadata map[string]any `json:"metadata"`
	Code     string         `json:"errorCode"`
	Details  string         `json:"errorDetails"`
}

func (p *provider) ask(ctx context.Context, flag string, about openfeature.FlattenedContext) (answer, error) {
	body, err := json.Marshal(map[string]any{"context": about})
	if err != nil {
		return answer{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint+"/ofrep/v1/evaluate/flags/"+url.PathEscape(flag), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := p.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	var a answer
	if err := json.NewDecoder(w.Body).Decode(&a); err != nil {
		return answer{}, fmt.Errorf("%s: %w", w.Status, err)
	}
	return a, nil
}

// evaluate is one evaluation of a type. convert reads a value as JSON has it.
func evaluate[T any](ctx context.Context, p *provider, flag string, fallback T, about openfeature.FlattenedContext, convert func(any) (T, bool)) openfeature.GenericResolutionDetail[T] {
	failed := func(e openfeature.ResolutionError) openfeature.GenericResolutionDetail[T] {
		detail := openfeature.ProviderResolutionDetail{ResolutionError: e, Reason: openfeature.ErrorReason}
		return openfeature.GenericResolutionDetail[T]{Value: fallback, ProviderResolutionDetail: detail}
	}
	a, err := p.ask(ctx, flag, about)
	switch {
	case err != nil:
		return failed(openfeature.NewGeneralResolutionError(err.Error()))
	case a.Code == string(openfeature.FlagNotFoundCode):
		return failed(openfeature.NewFlagNotFoundResolutionError(a.Details))
	case a.Code != "":
		return failed(openfeature.NewGeneralResolutionError(a.Code + ": " + a.Details))
	}
	value, ok := convert(a.Value)
	if !ok {
		return failed(openfeature.NewTypeMismatchResolutionError(fmt.Sprintf("flag %s is %v", flag, a.Value)))
	}
	detail := openfeature.ProviderResolutionDetail{Reason: openfeature.Reason(a.Reason), Variant: a.Variant, FlagMetadata: a.Metadata}
	return openfeature.GenericResolutionDetail[T]{Value: value, ProviderResolutionDetail: detail}
}

func as[T any](v any) (T, bool) {
	t, ok := v.(T)
	return t, ok
}

func (p *provider) BooleanEvaluation(ctx context.Context, flag string, fallback bool, about openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	return evaluate(ctx, p, flag, fallback, about, as[bool])
}

func (p *provider) StringEvaluation(ctx context.Context, flag string, fallback string, about openfeature.FlattenedContext) openfeature.StringResolutionDetail {
	return evaluate(ctx, p, flag, fallback, about, as[string])
}

func (p *provider) FloatEvaluation(ctx context.Context, flag string, fallback float64, about openfeature.FlattenedContext) openfeature.FloatResolutionDetail {
	return evaluate(ctx, p, flag, fallback, about, as[float64])
}

func (p *provider) IntEvaluation(ctx context.Context, flag string, fallback int64, about openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	return evaluate(ctx, p, flag, fallback, about, func(v any) (int64, bool) {
		n, ok := v.(float64)
		return int64(n), ok && n == float64(int64(n))
	})
}

func (p *provider) ObjectEvaluation(ctx context.Context, flag string, fallback any, about openfeature.FlattenedContext) openfeature.InterfaceResolutionDetail {
	return evaluate(ctx, p, flag, fallback, about, as[any])
}
