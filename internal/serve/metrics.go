package serve

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"
)

// metrics counts requests and their duration.
type metrics struct {
	sync.Mutex
	requests  map[request]int64
	durations map[string]*histogram
}

// A request is what requests are counted by.
type request struct {
	path string
	code int
}

// bounds are the upper bounds of a histogram's buckets, in seconds.
var bounds = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1}

type histogram struct {
	buckets [len(bounds)]int64
	sum     float64
	count   int64
}

func (m *metrics) count(path string, code int, took time.Duration) {
	m.Lock()
	defer m.Unlock()
	if m.requests == nil {
		m.requests, m.durations = map[request]int64{}, map[string]*histogram{}
	}
	m.requests[request{path, code}]++
	h := m.durations[path]
	if h == nil {
		h = &histogram{}
		m.durations[path] = h
	}
	s := took.Seconds()
	h.sum += s
	h.count++
	for i, b := range bounds {
		if s <= b {
			h.buckets[i]++
		}
	}
}

func (m *metrics) write(b *bytes.Buffer) {
	m.Lock()
	defer m.Unlock()
	b.WriteString("# HELP lenet5_requests_total Requests that were answered.\n# TYPE lenet5_requests_total counter\n")
	var keys []request
	for k := range m.requests {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		return keys[i].path < keys[j].path || keys[i].path == keys[j].path && keys[i].code < keys[j].code
	})
	for _, k := range keys {
		fmt.Fprintf(b, "lenet5_requests_total{path=%q,code=\"%d\"} %d\n", k.path, k.code, m.requests[k])
	}
	b.WriteString("# HELP lenet5_request_seconds How long requests took.\n# TYPE lenet5_request_seconds histogram\n")
	var paths []string
	for p := range m.durations {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		h := m.durations[p]
		for i, bound := range bounds {
			fmt.Fprintf(b, "lenet5_request_seconds_bucket{path=%q,le=\"%s\"} %d\n", p, strconv.FormatFloat(bound, 'g', -1, 64), h.buckets[i])
		}
		fmt.Fprintf(b, "lenet5_request_seconds_bucket{path=%q,le=\"+Inf\"} %d\n", p, h.count)
		fmt.Fprintf(b, "lenet5_request_seconds_sum{path=%q} %g\nlenet5_request_seconds_count{path=%q} %d\n", p, h.sum, p, h.count)
	}
}
