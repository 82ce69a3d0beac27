// cAdvisor's own manager and Prometheus collector behind a small server: the released main program is not in a module
// that the Go proxy serves. Flags, port and paths are those of the official image.
package main

import (
	"flag"
	"net/http"
	"strings"
	"time"

	"github.com/google/cadvisor/cache/memory"
	"github.com/google/cadvisor/container"
	_ "github.com/google/cadvisor/container/docker/install"
	v2 "github.com/google/cadvisor/info/v2"
	"github.com/google/cadvisor/manager"
	"github.com/google/cadvisor/metrics"
	"github.com/google/cadvisor/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

var (
	port        = flag.String("port", "8080", "port to listen on")
	listenIP    = flag.String("listen_ip", "", "address to listen on, empty for all")
	storeLabels = flag.Bool("store_container_labels", true, "make all container labels metric labels")
	whitelist   = flag.String("whitelisted_container_labels", "", "container labels to keep when not all are stored")
)

// What the official program leaves out by default, it leaves out too.
func included() container.MetricSet {
	set := container.MetricSet{}
	for _, kind := range []container.MetricKind{
		container.CpuUsageMetrics, container.PerCpuUsageMetrics, container.MemoryUsageMetrics, container.CpuLoadMetrics,
		container.DiskIOMetrics, container.DiskUsageMetrics, container.NetworkUsageMetrics, container.AppMetrics,
		container.OOMMetrics,
	} {
		set[kind] = struct{}{}
	}
	return set
}

func collectors(m manager.Manager) http.Handler {
	labels := metrics.DefaultContainerLabels
	if !*storeLabels {
		labels = metrics.BaseContainerLabels(strings.Split(*whitelist, ","))
	}
	options := v2.RequestOptions{IdType: v2.TypeName, Count: 1, Recursive: true}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewPrometheusCollector(m, labels, included(), clock.RealClock{}, options),
		metrics.NewPrometheusMachineCollector(m, included()))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func main() {
	klog.InitFlags(nil)
	flag.Parse()
	m, err := manager.New(memory.New(2*time.Minute, nil), sysfs.NewRealSysFs(), manager.HousekeepingConfigFlags,
		included(), http.DefaultClient, []string{"/"}, nil, "", 0)
	if err != nil {
		klog.Fatalf("cannot make the manager: %v", err)
	}
	if err := m.Start(); err != nil {
		klog.Fatalf("cannot start the manager: %v", err)
	}
	http.Handle("/metrics", collectors(m))
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	klog.Fatal(http.ListenAndServe(*listenIP+":"+*port, nil))
}
