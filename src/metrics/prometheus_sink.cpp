#include "metrics/prometheus_sink.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <mutex>
#include <vector>

#include "core/bad_sample.h"
#include "core/check.h"
#include "metrics/activity_collector.h"
#include "metrics/process_collector.h"

namespace pixelbert::metrics {
namespace {

prometheus::Family<prometheus::Gauge>& gauges(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

prometheus::Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help) {
  const prometheus::Histogram::BucketBoundaries seconds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                           2.5,  5,     10,   25,  50,   100, 250};
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, seconds);
}

// A connection occupies a thread until its request has arrived. So connections that send nothing, or a byte now and
// then, are closed after a second; it takes many of them to delay a scrape by that.
std::unique_ptr<prometheus::Exposer> serve(const std::string& address, const MetricsConfig& config, int local_rank) {
  try {
    return std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", address, "num_threads", "16", "request_timeout_ms", "1000", "enable_keep_alive", "no"});
  } catch (const std::exception& error) {
    fail(
        fmt::format("cannot serve metrics at {} (--metrics.address {}, --metrics.port {} + local rank {}): the port is "
                    "taken or the address is not this host's ({}); choose others, or --metrics.port 0 for no endpoint",
                    address, config.address, config.port, local_rank, error.what()));
  }
}

}  // namespace

struct PrometheusSink::Metrics {
  // A scrape while a step is being recorded waits, and gets all numbers of that step.
  class WholeSteps final : public prometheus::Collectable {
   public:
    prometheus::Registry registry;
    mutable std::mutex writing;

    std::vector<prometheus::MetricFamily> Collect() const override {
      const std::scoped_lock lock(writing);
      return registry.Collect();
    }
  };

  std::shared_ptr<WholeSteps> whole_steps = std::make_shared<WholeSteps>();
  prometheus::Registry* registry = &whole_steps->registry;
  std::shared_ptr<ProcessCollector> process = std::make_shared<ProcessCollector>();
  std::shared_ptr<ActivityCollector> activity = std::make_shared<ActivityCollector>();

  prometheus::Gauge& step = gauge("pixelbert_step", "optimizer steps since the start of training");
  prometheus::Gauge& planned_steps = gauge("pixelbert_planned_steps", "the step at which the run will be finished");
  prometheus::Gauge& epoch = gauge("pixelbert_epoch", "passes over the data that are complete");
  prometheus::Counter& samples =
      counter("pixelbert_samples_total", "pairs all ranks together have trained on since this process started");
  prometheus::Histogram& step_seconds =
      histogram(*registry, "pixelbert_step_seconds", "wall time of an optimizer step");
  prometheus::Family<prometheus::Counter>& phase_seconds =
      counters(*registry, "pixelbert_phase_seconds_total", "wall time by phase; the phases of a step add up to it");
  prometheus::Family<prometheus::Gauge>& loss =
      gauges(*registry, "pixelbert_loss", "mean over the last step's global batch");
  prometheus::Family<prometheus::Gauge>& accuracy =
      gauges(*registry, "pixelbert_accuracy", "share of right predictions in the last step's global batch");
  prometheus::Family<prometheus::Gauge>& learning_rate =
      gauges(*registry, "pixelbert_learning_rate", "of the last step");
  prometheus::Gauge& gradient_norm = gauge("pixelbert_gradient_norm", "of the last step, before clipping");
  prometheus::Counter& reduced_bytes =
      counter("pixelbert_reduced_bytes_total", "gradient bytes this rank has handed to the reduction");
  prometheus::Gauge& queue_batches = gauge("pixelbert_queue_batches", "micro-batches made and waiting for the loop");
  prometheus::Family<prometheus::Counter>& bad_samples =
      counters(*registry, "pixelbert_bad_samples_total", "samples this rank could not read and replaced");
  prometheus::Family<prometheus::Counter>& skipped_steps =
      counters(*registry, "pixelbert_skipped_steps_total", "steps without an update");
  prometheus::Histogram& checkpoint_seconds =
      histogram(*registry, "pixelbert_checkpoint_seconds",
                "time from the beginning of a save, beside training, until it is on the disk");
  prometheus::Family<prometheus::Gauge>& checkpoint_time =
      gauges(*registry, "pixelbert_checkpoint_last_success_timestamp_seconds", "when the last checkpoint was whole");
  prometheus::Gauge& flops =
      gauge("pixelbert_model_flops_per_second", "model arithmetic of this rank in the last step, forward and backward");
  prometheus::Gauge& peak_flops =
      gauge("pixelbert_peak_flops_per_second",
            "matrix products of this rank's device in the training's precision, measured at the start");
  prometheus::Family<prometheus::Gauge>& device_memory = gauges(
      *registry, "pixelbert_device_memory_bytes", "the most GPU memory that tensors of this rank have held at once");

  std::unique_ptr<prometheus::Exposer> exposer;  // last: its threads read the above

  prometheus::Gauge& gauge(const char* name, const char* help) { return gauges(*registry, name, help).Add({}); }
  prometheus::Counter& counter(const char* name, const char* help) { return counters(*registry, name, help).Add({}); }
};

PrometheusSink::PrometheusSink(const MetricsConfig& config, int local_rank, const Progress& progress,
                               const std::map<std::string, std::string>& build)
    : metrics_(std::make_unique<Metrics>()) {
  metrics_->step.Set(static_cast<double>(progress.step));
  metrics_->epoch.Set(static_cast<double>(progress.epoch));
  metrics_->planned_steps.Set(static_cast<double>(progress.planned_steps));
  // Start from 0, so that the first event is an increase.
  metrics_->skipped_steps.Add({{"reason", "not_finite"}});
  for (const char* reason : bad_sample::kAll) metrics_->bad_samples.Add({{"reason", reason}});
  gauges(*metrics_->registry, "pixelbert_build_info", "what this program was built from and with").Add(build).Set(1);
  const std::string address = fmt::format("{}:{}", config.address, config.port + local_rank);
  metrics_->exposer = serve(address, config, local_rank);
  metrics_->exposer->RegisterCollectable(metrics_->whole_steps);
  metrics_->exposer->RegisterCollectable(metrics_->process);
  metrics_->exposer->RegisterCollectable(metrics_->activity);
}

PrometheusSink::~PrometheusSink() = default;

void PrometheusSink::record(const StepStats& stats) {
  Metrics& to = *metrics_;
  const std::scoped_lock lock(to.whole_steps->writing);
  to.step.Set(static_cast<double>(stats.step));
  to.epoch.Set(static_cast<double>(stats.epoch));
  to.samples.Increment(static_cast<double>(stats.step_samples));
  to.step_seconds.Observe(stats.seconds);
  for (std::size_t i = 0; i < kStepPhases; ++i) {
    to.phase_seconds.Add({{"phase", std::string(names(Phase())[i])}}).Increment(stats.phase_seconds[i]);
  }
  to.loss.Add({{"term", "total"}}).Set(stats.loss);
  for (const auto& [term, value] : stats.term_loss) to.loss.Add({{"term", term}}).Set(value);
  for (const auto& [term, value] : stats.term_accuracy) to.accuracy.Add({{"term", term}}).Set(value);
  for (const auto& [group, value] : stats.learning_rate) to.learning_rate.Add({{"group", group}}).Set(value);
  to.gradient_norm.Set(stats.gradient_norm);
  to.reduced_bytes.Increment(static_cast<double>(stats.reduced_bytes));
  to.queue_batches.Set(static_cast<double>(stats.queued_batches));
  for (const auto& [reason, count] : stats.bad_samples) {
    to.bad_samples.Add({{"reason", reason}}).Increment(static_cast<double>(count));
  }
  if (!stats.skipped.empty()) to.skipped_steps.Add({{"reason", stats.skipped}}).Increment();
  for (const double seconds : stats.checkpoint_seconds) to.checkpoint_seconds.Observe(seconds);
  if (!stats.checkpoint_seconds.empty()) {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    to.checkpoint_time.Add({}).Set(now.count());
  }
  to.flops.Set(stats.seconds > 0 ? stats.flops / stats.seconds : 0);
  to.peak_flops.Set(stats.peak_flops_per_second);
  if (stats.device_memory_bytes) to.device_memory.Add({}).Set(static_cast<double>(*stats.device_memory_bytes));
}

}  // namespace pixelbert::metrics
