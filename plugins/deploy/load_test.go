package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// answers are what a number of requests got, by pool and by release.
type answers struct {
	pool, release map[string]int
	failed        []string
}

// get sends one request.
func (s *site) get(client *http.Client) (pool, release string, err error) {
	resp, err := client.Get(s.url + "/")
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
func (s *site) load() (stop func() answers) {
	ctx, cancel := context.WithCancel(context.Background())
	a := answers{pool: map[string]int{}, release: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
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
