package scalecmd

import (
	"time"

	"github.com/hostroute/hostroute/internal/scale"
)

// Report is everything that the command says about a plan.
type Report struct {
	Plan     scale.Plan     `json:"plan"`
	Inputs   []scale.Source `json:"inputs"`
	Figures  []scale.Figure `json:"figures"`
	Sizes    []Size         `json:"sizes"`
	Herds    []Herd         `json:"herds"`
	Fanouts  []Fanout       `json:"fanouts"`
	Returns  []Return       `json:"returns"`
	Measured []Validation   `json:"measured"`
}

// Size is a row of the table of regions of several sizes.
type Size struct {
	Hypervisors int            `json:"hypervisors"`
	Figures     []scale.Figure `json:"figures"`
}

// Herd is a simulated herd.
type Herd struct {
	Name   string           `json:"name"`
	Input  scale.Herd       `json:"input"`
	Result scale.HerdResult `json:"result"`
}

// Fanout is a simulated steady state.
type Fanout struct {
	Input  scale.Fanout       `json:"input"`
	Result scale.FanoutResult `json:"result"`
}

// Return is a simulated return of a plane.
type Return struct {
	Input  scale.Return       `json:"input"`
	Result scale.ReturnResult `json:"result"`
}

// Validation is a measured herd, simulated.
type Validation struct {
	scale.MeasuredHerd
	Result scale.HerdResult `json:"result"`
}

// Make computes and simulates all of it.
func Make(p scale.Plan) Report {
	m := scale.Here()
	r := Report{Plan: p, Inputs: m.Sources(), Figures: scale.Figures(p, m)}
	for _, n := range sizesTo(p.Hypervisors) {
		q := p
		q.Hypervisors, q.Clients = n, min(p.Clients, n)
		r.Sizes = append(r.Sizes, Size{n, scale.Figures(q, m)})
		h := q.Herd(m)
		r.Herds = append(r.Herds, Herd{"power cut", h, h.Run()})
	}
	r.Herds = append(r.Herds, variants(p.Herd(m))...)
	for _, rate := range []float64{10, 100, 500, 1000, 1500} {
		f := p.Fanout(m, rate)
		r.Fanouts = append(r.Fanouts, Fanout{f, f.Run()})
	}
	for _, clients := range []int{50, 100, 200, 500, 1000, 2000, 4000} {
		if clients > p.Hypervisors {
			break
		}
		back := p.Return(m)
		back.Clients = clients
		r.Returns = append(r.Returns, Return{back, back.Run()})
	}
	for _, h := range scale.MeasuredHerds() {
		r.Measured = append(r.Measured, Validation{h, h.Herd().Run()})
	}
	return r
}

// sizesTo are those of a curve up to a region's.
func sizesTo(n int) (list []int) {
	for _, size := range []int{100, 250, 500, 1000, 2000, 4000} {
		if size < n {
			list = append(list, size)
		}
	}
	return append(list, n)
}

// variants are herds that go otherwise.
func variants(h scale.Herd) []Herd {
	one, slow, dies, tight := h, h, h, h
	one.Services = 1
	slow.LinkRate = 1e9 / 8
	dies.ServiceDies = h.ServersBack + 2*time.Second
	tight.Servers, tight.ServerCores, tight.Services, tight.ServiceCores = 1, 2, 1, 2
	var list []Herd
	for _, v := range []struct {
		name string
		herd scale.Herd
	}{{"one service", one}, {"links of 1 Gbit/s", slow}, {"a service dies 2 s after the servers are back", dies}, {"one server, one service, 2 cores each", tight}} {
		list = append(list, Herd{v.name, v.herd, v.herd.Run()})
	}
	return list
}
