// Command relabel writes cases of relabelling with what Prometheus itself makes of them, one JSON
// object a line:
//
//	cd crates/oddns-collect/tests/data/relabel && go run . > ../relabel.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

const cases = 301

type result struct {
	Rules  []map[string]any  `json:"rules"`
	Labels map[string]string `json:"labels"`
	// Absent when the rules are refused.
	Valid bool              `json:"valid"`
	Keep  bool              `json:"keep"`
	Out   map[string]string `json:"out,omitempty"`
}

var (
	names = []string{"__address__", "job", "instance", "__meta_kubernetes_pod_label_k8s_app", "__meta_kubernetes_pod_name",
		"__meta_dns_name", "zone", "server", "__name__", "a", "b_2", "tmp", "é"}
	values = []string{"", "10.2.0.11:9153", "[fd00::a]:9153", "kube-dns", "coredns-7f-x", "CoreDNS", "true", "a;b", "a\nb", "٣4",
		"straße", "{x}", "a.b[c", "$1", "web 42", "coredns_dns_requests_total", "99", "_", "é"}
	regexes = []string{"(.*)", "(.+)", "", "kube-dns|coredns.*", `([^:]+)(?::\d+)?`, `(\w+)-(\w+)`, `(?i)coredns`, `\d+`, `[\w.]+`,
		`a.b`, `__meta_kubernetes_pod_(.+)`, `__meta_(kubernetes|dns)_(?P<rest>.*)`, `__.*`, `(a|b)(_\d)?`, `.*;.*`, `[^\d]+`, `\D+`,
		`(\S+) (\d+)`, `{x}`, `a\.b[[]c`, `\Qa.b[\E.`, `(?P<first>.)(?P<last>.*)`, `[[:alpha:]]+`, `[a&&z]+`, `a{1,2}.*`, `true`, `(`, `a**`,
		`x{2}`, `.{4}`, `(\bweb\b).*`, `[]a[]+.*`, `(?:(a)|(b)).*`, `^a;b$`, `\$1`, `\x61;b`, `\pL+`, `[é]`, `(?s).+`, `(?-s:a.b)`, `$`}
	replacements = []string{"$1", "$2", "${1}:9153", "$1-$2", "fixed", "", "$rest", "${first}_x", "$0", "$$1", "$", "${", "$1x", "a$b", "${last}$first"}
	targets      = []string{"a", "__address__", "new", "instance", "zone", "$1", "${1}_x", "é", "with space", "__name__", "$2"}
	actions      = []string{"replace", "replace", "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"}
	separators   = []string{";", "", "-", ":"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.Intn(len(from))] }

func rule(r *rand.Rand) map[string]any {
	rule := map[string]any{}
	action := pick(r, actions)
	if action != "replace" || r.Intn(2) == 0 {
		rule["action"] = action
	}
	if strings.HasPrefix(action, "label") {
		rule["regex"] = pick(r, regexes)
		if action == "labelmap" {
			rule["replacement"] = pick(r, replacements)
		}
		return rule
	}
	sources := []string{}
	for range r.Intn(3) {
		sources = append(sources, pick(r, names))
	}
	rule["source_labels"] = sources
	switch action {
	case "keepequal", "dropequal", "lowercase", "uppercase":
		rule["target_label"] = pick(r, targets)
		return rule
	case "hashmod":
		rule["modulus"] = 1 + r.Intn(1000)
		rule["target_label"] = pick(r, targets)
		return rule
	case "replace":
		if r.Intn(12) > 0 {
			rule["target_label"] = pick(r, targets)
		}
		rule["replacement"] = pick(r, replacements)
	}
	rule["regex"] = pick(r, regexes)
	if r.Intn(3) == 0 {
		rule["separator"] = pick(r, separators)
	}
	return rule
}

func config(rule map[string]any) (*relabel.Config, error) {
	config := relabel.DefaultRelabelConfig
	set := func(key string, to *string) {
		if value, ok := rule[key]; ok {
			*to = value.(string)
		}
	}
	set("separator", &config.Separator)
	set("target_label", &config.TargetLabel)
	set("replacement", &config.Replacement)
	if action, ok := rule["action"]; ok {
		config.Action = relabel.Action(action.(string))
	}
	if modulus, ok := rule["modulus"]; ok {
		config.Modulus = uint64(modulus.(int))
	}
	if sources, ok := rule["source_labels"]; ok {
		for _, name := range sources.([]string) {
			config.SourceLabels = append(config.SourceLabels, model.LabelName(name))
		}
	}
	if text, ok := rule["regex"]; ok {
		regex, err := relabel.NewRegexp(text.(string))
		if err != nil {
			return nil, err
		}
		config.Regex = regex
	}
	return &config, config.Validate(model.UTF8Validation)
}

func main() {
	r := rand.New(rand.NewSource(9153))
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for range cases {
		c := result{Labels: map[string]string{}, Valid: true}
		for range 1 + r.Intn(6) {
			if value := pick(r, values); value != "" {
				c.Labels[pick(r, names)] = value
			}
		}
		configs := []*relabel.Config{}
		for range 1 + r.Intn(3) {
			rule := rule(r)
			config, err := config(rule)
			c.Rules = append(c.Rules, rule)
			c.Valid = c.Valid && err == nil
			configs = append(configs, config)
		}
		if c.Valid {
			builder := labels.NewBuilder(labels.FromMap(c.Labels))
			c.Keep = relabel.ProcessBuilder(builder, configs...)
			if c.Keep {
				c.Out = builder.Labels().Map()
			}
			if _, ok := c.Out[""]; ok {
				// A labelmap made a label without a name, which nothing can hold.
				continue
			}
		}
		if err := out.Encode(c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
