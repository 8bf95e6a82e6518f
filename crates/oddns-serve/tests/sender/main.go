// Sends numbered samples by remote write 2.0 with Prometheus's own client library:
// `sender URL SERIES SAMPLES`. Prints what the receiver says it has written.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	writev2 "github.com/prometheus/client_golang/exp/api/remote/genproto/v2"
)

func main() {
	nSeries, _ := strconv.Atoi(os.Args[2])
	nSamples, _ := strconv.Atoi(os.Args[3])
	backoff := remote.BackoffConfig{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond, MaxRetries: 100}
	api, err := remote.NewAPI(os.Args[1],
		remote.WithAPIHTTPClient(&http.Client{Timeout: 10 * time.Second}),
		remote.WithAPIBackoff(backoff))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	start := time.Now().UnixMilli()
	nWritten := 0
	for sample := range nSamples {
		stats, err := api.Write(context.Background(), remote.WriteV2MessageType,
			request(nSeries, start+int64(sample), float64(sample)))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		nWritten += stats.Samples
	}
	fmt.Println(nWritten)
}

func request(nSeries int, millis int64, value float64) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	request := &writev2.Request{}
	for n := range nSeries {
		labels := []string{"__name__", fmt.Sprintf("m%d", n), "instance", "n:1", "job", "dns"}
		request.Timeseries = append(request.Timeseries, &writev2.TimeSeries{
			LabelsRefs: symbols.SymbolizeLabels(labels, nil),
			Samples:    []*writev2.Sample{{Value: value, Timestamp: millis}},
		})
	}
	request.Symbols = symbols.Symbols()
	return request
}
