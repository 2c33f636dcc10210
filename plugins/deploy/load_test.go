package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-b96de936/troop/plugins/deploy/haproxy"
)

// answers are what a number of requests got, by pool and by release.
type answers struct {
	pool, release map[string]int
	failed        []string
}

// get sends one request.
func (s *site) get(client *http.Client) (pool, release string, err error) {
	return s.getPath(client, "/")
}

// getPath asks for a path, or for one of another host: "api.example.com/api".
func (s *site) getPath(client *http.Client, path string) (pool, release string, err error) {
	host, rest, _ := strings.Cut(path, "/")
	req, err := http.NewRequest(http.MethodGet, s.url+"/"+rest, nil)
	if err != nil {
		return "", "", err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return "", "", err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s from %s (%s)", resp.Status, resp.Header.Get("X-Troop-Pool"), b)
	}
	return resp.Header.Get("X-Troop-Pool"), string(b), err
}

// ask sends n requests one after the other.
func (s *site) ask(n int) answers {
	a := answers{pool: map[string]int{}, release: map[string]int{}}
	for range n {
		a.add(s.get(http.DefaultClient))
	}
	return a
}

func (a *answers) add(pool, release string, err error) {
	a.pool[pool]++
	a.release[release]++
	if err != nil {
		a.failed = append(a.failed, err.Error())
	}
}

// load sends 50 requests a second, each on a connection of its own, until the returned function is called.
func (s *site) load() (stop func() answers) { return s.loadOf(time.Minute) }

// loadOf is load by clients that give up after some time.
func (s *site) loadOf(patience time.Duration) (stop func() answers) {
	ctx, cancel := context.WithCancel(context.Background())
	a := answers{pool: map[string]int{}, release: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				wg.Go(func() {
					pool, release, err := s.get(client)
					mu.Lock()
					defer mu.Unlock()
					a.add(pool, release, err)
				})
			}
		}
	})
	return func() answers {
		cancel()
		wg.Wait()
		return a
	}
}

// browse loads pages with two assets each, one request after the other, until the returned function is called. It returns
// what answered the pages.
func (s *site) browse() (stop func() answers) {
	ctx, cancel := context.WithCancel(context.Background())
	pages := answers{pool: map[string]int{}, release: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			pages.add(s.getPath(http.DefaultClient, "/page"))
			for range 2 {
				if _, _, err := s.getPath(http.DefaultClient, "/asset"); err != nil {
					pages.failed = append(pages.failed, err.Error())
				}
			}
		}
	}()
	return func() answers {
		cancel()
		<-done
		return pages
	}
}

// hang sends requests until each host has one in flight that is not answered before release is called.
func (s *site) hang(hosts ...string) (release func()) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var wg sync.WaitGroup
	release = sync.OnceFunc(func() {
		close(s.hanging)
		wg.Wait()
	})
	s.t.Cleanup(release)
	for range 3 * len(hosts) {
		wg.Go(func() {
			if resp, err := client.Get(s.url + "/hang"); err == nil {
				_ = resp.Body.Close()
			}
		})
	}
	s.eventually("each host has a request that hangs", func() bool {
		servers, _, err := haproxy.New(s.setting.paths.Socket, "").Servers(s.t.Context())
		return err == nil && !slices.ContainsFunc(hosts, func(h string) bool {
			at := seat(h)
			return servers[at.Pool+"/"+at.Server(s.desired().Seats[at].Slot)].Sessions == 0
		})
	})
	return release
}
