// Prometheus's own parser of the exposition formats, to compare ours with.
//
// `textparse read` answers inputs: a line `FORMAT LENGTH` and so many bytes on stdin, a line of JSON
// on stdout. FORMAT is text, openmetrics or protobuf. The answer is {"error": "…"}, or {"samples":
// […]}, each {"labels": [["__name__", "…"], …], "bits": "…", "time": …}: the value as the number of
// its bits, the time in milliseconds or null. What a scrape refuses behind the parser is an error
// too.
//
// `textparse time FOLDER` reads the files of FOLDER, says `ready`, then answers each line `series` or
// `labels` with the processor seconds it took and the sample lines it read.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Sample lines in one measurement.
const enough = 1_000_000

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "textparse:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "read":
		return readAll(bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout))
	case len(arguments) == 2 && arguments[0] == "time":
		return timeAll(arguments[1])
	}
	return errors.New("use: textparse read | textparse time FOLDER")
}

type sample struct {
	Labels [][2]string `json:"labels"`
	Bits   string      `json:"bits"`
	Time   *int64      `json:"time"`
}

type answer struct {
	Error   string   `json:"error,omitempty"`
	Samples []sample `json:"samples"`
}

func readAll(in *bufio.Reader, out *bufio.Writer) error {
	for {
		var format string
		var length int
		if _, err := fmt.Fscanf(in, "%s %d\n", &format, &length); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		input := make([]byte, length)
		if _, err := io.ReadFull(in, input); err != nil {
			return err
		}
		line, err := json.Marshal(read(format, input))
		if err != nil {
			return err
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

func parser(format string, input []byte) textparse.Parser {
	switch format {
	case "openmetrics":
		return textparse.NewOpenMetricsParser(input, labels.NewSymbolTable())
	case "protobuf":
		return textparse.NewProtobufParser(input, true, false, false, false, labels.NewSymbolTable())
	}
	return textparse.NewPromParser(input, labels.NewSymbolTable(), false)
}

func read(format string, input []byte) answer {
	p := parser(format, input)
	samples := []sample{}
	for {
		entry, err := p.Next()
		if err == io.EOF {
			return answer{Samples: samples}
		}
		if err != nil {
			return answer{Error: err.Error()}
		}
		if entry != textparse.EntrySeries {
			continue
		}
		s, err := series(p)
		if err != nil {
			return answer{Error: err.Error()}
		}
		samples = append(samples, s)
	}
}

// As the scrape loop, which checks what the parser lets through.
func series(p textparse.Parser) (sample, error) {
	_, time, value := p.Series()
	var set labels.Labels
	p.Labels(&set)
	if set.Get(labels.MetricName) == "" {
		return sample{}, errors.New("no metric name")
	}
	if !set.IsValid(model.UTF8Validation) {
		return sample{}, errors.New("invalid metric or label names")
	}
	if name, twice := set.HasDuplicateLabelNames(); twice {
		return sample{}, fmt.Errorf("label %q twice", name)
	}
	s := sample{Labels: [][2]string{}, Bits: strconv.FormatUint(math.Float64bits(value), 10)}
	if time != nil {
		copied := *time
		s.Time = &copied
	}
	set.Range(func(l labels.Label) { s.Labels = append(s.Labels, [2]string{l.Name, l.Value}) })
	return s, nil
}

func timeAll(folder string) error {
	names, err := filepath.Glob(filepath.Join(folder, "*.prom"))
	if err != nil {
		return err
	}
	var scrapes [][]byte
	for _, name := range names {
		scrape, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		scrapes = append(scrapes, scrape)
	}
	if len(scrapes) == 0 {
		return errors.New("no scrape to read")
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		seconds, lines, err := measure(scrapes, in.Text())
		if err != nil {
			return err
		}
		fmt.Println(seconds, lines)
	}
	return in.Err()
}

func measure(scrapes [][]byte, what string) (float64, int, error) {
	// The cache of the scrape loop: what bytes mean which series.
	known := map[string]int{}
	symbols := labels.NewSymbolTable()
	var begin float64
	lines := 0
	// The first time over is not what is measured.
	for round := -len(scrapes); lines < enough; round++ {
		if round == 0 {
			begin, lines = processorSeconds(), 0
		}
		n, err := parse(scrapes[(round+len(scrapes))%len(scrapes)], what == "labels", symbols, known)
		if err != nil {
			return 0, 0, err
		}
		if lines += n; round < 0 {
			lines = 0
		}
	}
	return processorSeconds() - begin, lines, nil
}

func parse(scrape []byte, withLabels bool, symbols *labels.SymbolTable, known map[string]int) (int, error) {
	p := textparse.NewPromParser(scrape, symbols, false)
	var set labels.Labels
	n := 0
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		n++
		bytes, _, _ := p.Series()
		if withLabels {
			p.Labels(&set)
		} else if _, found := known[string(bytes)]; !found {
			p.Labels(&set)
			known[string(bytes)] = len(known)
		}
	}
}

// Time on processors, that of the garbage collector included.
func processorSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)*1e-6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
