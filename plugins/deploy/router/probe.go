package router

import (
	"context"
	"fmt"
	"net/http"

	"github.com/seed-b96de936/troop/plugins/deploy/state"
)

// newProber returns a client that follows no redirect and shares no connection, like a health check of HAProxy.
func newProber() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// probe asks a slot whether it is healthy.
func (r *Router) probe(ctx context.Context, address string, h state.Health) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	url := "http://" + address + h.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = h.Host
	resp, err := r.prober.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != h.Status {
		return fmt.Errorf("%s answers %s, want %d", url, resp.Status, h.Status)
	}
	return nil
}
