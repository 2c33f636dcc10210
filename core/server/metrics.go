package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-b96de936/troop/core/store"
)

// metrics is what the server tells Prometheus.
type metrics struct {
	requests *prometheus.CounterVec
	streams  prometheus.Gauge
	handler  http.Handler
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "troop_requests_total", Help: "Requests by route."}, []string{"method", "route"}),
		streams:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "troop_streams", Help: "Pages that are connected and show what is new."}),
	}
	r := prometheus.NewRegistry()
	r.MustRegister(m.requests, m.streams, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &history{s: s})
	m.handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	return m
}

func (s *Server) metricsPage(w http.ResponseWriter, r *http.Request) error {
	s.metrics.handler.ServeHTTP(w, r)
	return nil
}

// history reads, when it is asked, the figures that are in the queue and in the records of runs.
type history struct{ s *Server }

var (
	queueDesc = prometheus.NewDesc("troop_queue", "Runs in the queue, by whether they wait or go on.", []string{"pipeline", "state"}, nil)
	lastDesc  = prometheus.NewDesc("troop_last_run_timestamp_seconds", "When the newest run of a status ended.", []string{"pipeline", "status"}, nil)
	runsDesc  = prometheus.NewDesc("troop_runs", "Runs among the newest 200 of a pipeline, by status.", []string{"pipeline", "status"}, nil)
	stageDesc = prometheus.NewDesc("troop_stage_seconds", "Time that a stage took in the newest run in which it ran and passed.", []string{"pipeline", "stage"}, nil)
)

// counted is how many of the newest runs of a pipeline the figures are about.
const counted = 200

// Describe implements prometheus.Collector.
func (h *history) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueDesc, lastDesc, runsDesc, stageDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (h *history) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	jobs, err := h.s.queue()
	if err != nil {
		to <- prometheus.NewInvalidMetric(queueDesc, err)
		return
	}
	for _, name := range h.s.names {
		waits, goes := 0, 0
		for _, j := range jobs {
			switch {
			case j.Pipeline != name:
			case j.Started.IsZero():
				waits++
			default:
				goes++
			}
		}
		gauge(queueDesc, float64(waits), name, "waiting")
		gauge(queueDesc, float64(goes), name, "running")
		p, err := h.s.pipelines[name].read(h.s.ctx)
		if err != nil {
			continue // the pipeline's page says why
		}
		runs, err := p.Files.Runs(h.s.ctx, store.Filter{Pipeline: name, Limit: counted})
		if err != nil {
			to <- prometheus.NewInvalidMetric(runsDesc, err)
			continue
		}
		by, timed := map[string]float64{}, map[string]bool{}
		for _, r := range runs { // the newest first
			status := string(r.Status)
			if by[status]++; by[status] == 1 && !r.Ended.IsZero() {
				gauge(lastDesc, float64(r.Ended.UnixMilli())/1000, name, status)
			}
			for _, x := range r.Stages {
				if id := string(x.ID); !timed[id] && x.Status.Passed() && x.Reused == "" && !x.Started.IsZero() && !x.Ended.IsZero() {
					timed[id] = true
					gauge(stageDesc, x.Ended.Sub(x.Started).Seconds(), name, id)
				}
			}
		}
		for status, n := range by {
			gauge(runsDesc, n, name, status)
		}
	}
}
