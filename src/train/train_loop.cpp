#include "train/train_loop.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/make_communicator.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/stop_signal.h"
#include "metrics/jsonl_sink.h"

namespace pixelbert::train {
namespace {

using activity::Phase;
using activity::Wait;

}  // namespace

void find_problems(const LoopConfig& config, Problems& problems) {
  problems.countable("train.epochs", config.epochs);
  problems.at_least("train.steps", config.steps, 0);
  problems.at_least("train.max-skipped-steps", config.max_skipped_steps, 1);
}

std::int64_t total_steps(const LoopConfig& config, const data::SampleStream& stream) {
  const std::int64_t by_epochs = config.epochs * stream.steps_per_epoch();
  return config.steps > 0 ? std::min(config.steps, by_epochs) : by_epochs;
}

TrainLoop::TrainLoop(TrainParts parts, LoopConfig config)
    : parts_(std::move(parts)),
      config_(config),
      steps_(total_steps(config, parts_.stream)),
      device_times_(parts_.device),
      device_copies_(parts_.device) {}

Outcome TrainLoop::run(checkpoint::Checkpoint& run) {
  while (run.step < steps_) {
    StepResult result = train_step(run);
    run.samples += result.stats.step_samples;
    const data::Position next = parts_.stream.after(position_of(run));
    run.epoch = next.epoch;
    run.step_in_epoch = next.step;
    ++run.step;
    if (parts_.lock) parts_.lock->check();

    const bool ends = result.requests.stop || run.step == steps_;
    if (ends || result.requests.save) {
      clock_.fill(result.stats);
      run.metrics_line = metrics::jsonl_line(result.stats);
      activity::doing(Phase::Checkpoint, "beginning to save");
      parts_.checkpointer.begin(run, parts_.optimizer_state.tensors());
    }
    if (ends || result.requests.end) parts_.checkpointer.finish(run);
    result.stats.checkpoint_seconds = parts_.checkpointer.take_seconds();
    clock_.finish(result.stats);
    for (metrics::Sink* sink : parts_.sinks) sink->record(result.stats);
    if (result.requests.stop && run.step < steps_) return Outcome::Stopped;
  }
  return Outcome::Finished;
}

TrainLoop::StepResult TrainLoop::train_step(checkpoint::Checkpoint& run) {
  activity::begin_step(run.step + 1);
  const data::Position at = position_of(run);
  const std::vector<data::Batch> batches = load(at);
  LossTotals totals = start_counts(batches, at);  // on their way while the first micro-batch is computed

  const comm::SumTree tree = tree_of(at);
  parts_.reducer.begin_step(tree);
  device_times_.begin_step();
  std::vector<torch::Tensor> statistics;  // of BatchNorm, for each micro-batch
  for (std::size_t i = 0; i < batches.size(); ++i) {
    parts_.reducer.begin_micro_batch(batches[i].micro_batch.index);
    forward_backward(batches, i, totals);
    statistics.push_back(parts_.model->take_batch_statistics());
  }
  if (batches.empty()) wait_for_counts(totals);  // the other ranks wait in their first micro-batch

  // Every rank makes these sums, in this order: a rank with micro-batches has started its gradients in backward.
  sum_gradients();
  const torch::Tensor sum_of_statistics = sum_batch_statistics(tree, std::move(statistics));

  // The norm has the same bits on every rank, so every rank decides alike. On a GPU the device decides: until here the
  // host has waited for nothing but the counts, and it puts the update on the stream before it knows the norm.
  const torch::Tensor device_norm = gradient_norm(totals);
  update(run, device_norm, sum_of_statistics);
  copy_ahead();
  const double norm = sum_losses(totals, run, device_norm);

  activity::doing(Phase::Other, "statistics of the step");
  StepResult result{.stats = stats_of(batches, run, totals, norm), .requests = totals.requests()};
  if (std::isfinite(norm)) {
    run.skipped_in_a_row = 0;
    result.stats.gather_seconds = gather_seconds_;
  } else {
    result.stats.skipped = skip(run, find_culprit(batches, at, totals));
  }
  return result;
}

void TrainLoop::enter(Phase phase, std::string what) {
  activity::doing(phase, std::move(what));
  device_times_.mark(phase);
}

void TrainLoop::wait_in(Wait place, std::string what) {
  activity::waiting(place, std::move(what));
  device_times_.mark(Phase::ReduceWait);
}

comm::SumTree TrainLoop::tree_of(data::Position at) const {
  return comm::SumTree(data::run_bounds(parts_.stream.micro_batches_in_step(at), parts_.control.world_size()));
}

std::vector<data::Batch> TrainLoop::load(data::Position at) {
  activity::doing(Phase::Data, "the loader's batches");
  return parts_.loader.load(at);
}

LossTotals TrainLoop::start_counts(const std::vector<data::Batch>& batches, data::Position at) {
  activity::doing(Phase::Forward, "counts");
  return {parts_.objective.terms(), parts_.stream.micro_batches_in_step(at), counts_of(parts_.objective, batches),
          parts_.control};
}

void TrainLoop::wait_for_counts(LossTotals& totals) {
  wait_in(Wait::Counts, "counts");
  totals.wait_for_counts();
}

void TrainLoop::sum_gradients() {
  wait_in(Wait::Gradients, "gradients");
  parts_.reducer.finish();
}

torch::Tensor TrainLoop::sum_batch_statistics(const comm::SumTree& tree, std::vector<torch::Tensor> of_micro_batches) {
  const torch::Tensor sum = parts_.model->take_batch_statistics();  // no forward since the last call: zeros
  if (sum.numel() == 0) return sum;
  wait_in(Wait::Statistics, "batch statistics");
  comm::sum_leaves(tree, std::move(of_micro_batches), sum, parts_.tensors);
  return sum;
}

torch::Tensor TrainLoop::gradient_norm(const LossTotals& totals) {
  activity::doing(Phase::Optimizer, "the gradient's norm");
  device_times_.mark(Phase::ReduceWait);  // a GPU spends nearly all of it waiting for the others
  return parts_.reducer.gradient_norm(totals.veto());
}

void TrainLoop::update(const checkpoint::Description& run, const torch::Tensor& norm, const torch::Tensor& statistics) {
  parts_.tensors.check();  // what has failed so far; the device may still fail
  device_times_.mark(Phase::Checkpoint);
  parts_.checkpointer.wait_until_read();
  enter(Phase::Optimizer, "the update");
  parts_.model->update_running_statistics(statistics, norm.isfinite());
  parts_.optimizer.step(run.step, norm);
  const auto updated = std::chrono::steady_clock::now();
  device_times_.mark(Phase::ReduceWait);
  parts_.reducer.gather_weights();
  gather_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - updated).count();
}

void TrainLoop::copy_ahead() {
  if (parts_.device.is_cpu()) return;
  activity::doing(Phase::Data, "the next step's first copy");
  if (const std::optional<data::Batch> next = parts_.loader.next()) device_copies_.start(*next);
}

double TrainLoop::sum_losses(LossTotals& totals, checkpoint::Checkpoint& run, const torch::Tensor& norm) {
  device_times_.mark(Phase::Other);
  if (!parts_.device.is_cpu()) {
    activity::doing(Phase::Backward, "the device's backward");  // a rank that waits here holds up the others
    device_times_.wait_for_end_of(Phase::Backward);
    activity::waiting(Wait::Sums, "the device's sums");
  }
  std::vector<torch::Tensor> awaited = totals.kept();
  awaited.push_back(norm.view({1}));
  const torch::Tensor on_host = at::cat(awaited).cpu();  // one copy, because the host waits for it
  parts_.tensors.check();                                // what the device has done, before any of it is saved
  take_device_times();

  const bool save_is_broken = !parts_.checkpointer.notice_end(run);
  activity::doing(Phase::Other, "looking for requests to stop");  // in the run folder, whose file system may hang
  const Requests own{.stop = stop_wanted(run), .save = parts_.checkpointer.due(run.step + 1), .end = save_is_broken};
  activity::waiting(Wait::Sums, "loss sums");
  const std::int64_t sums = on_host.numel() - 1;
  totals.finish(on_host.narrow(0, 0, sums), own);
  return on_host[sums].item<double>();
}

void TrainLoop::take_device_times() {
  const std::vector<DeviceTimes::Span> spans = device_times_.spans();
  if (spans.empty()) return;
  metrics::PhaseSeconds of_phases{};
  for (const auto& [phase, seconds] : spans) of_phases[static_cast<std::size_t>(phase)] += seconds;
  gather_seconds_ = clock_.divide_as(of_phases) * spans.back().seconds;
}

metrics::StepStats TrainLoop::stats_of(const std::vector<data::Batch>& batches, const checkpoint::Description& run,
                                       const LossTotals& totals, double norm) {
  metrics::StepStats stats;
  stats.step = run.step + 1;
  stats.epoch = run.epoch;
  stats.step_samples = parts_.stream.pairs_in_step(position_of(run));
  stats.samples = run.samples + stats.step_samples;
  for (std::size_t term = 0; term < totals.terms().size(); ++term) {
    if (totals.count(term) == 0) continue;  // nothing of the step is of this kind
    stats.term_loss[totals.terms()[term]] = totals.mean(term);
    stats.term_accuracy[totals.terms()[term]] = totals.accuracy(term);
    stats.loss += totals.mean(term);
  }
  stats.learning_rate = parts_.optimizer.learning_rates(run.step);
  stats.gradient_norm = norm;
  stats.reduced_bytes = parts_.reducer.reduced_bytes() - std::exchange(reduced_bytes_, parts_.reducer.reduced_bytes());
  if (!batches.empty()) stats.bucket_ready = bucket_ready();
  if (parts_.device.is_cuda()) stats.device_memory_bytes = comm::peak_device_bytes(parts_.device);
  stats.queued_batches = parts_.loader.queued();
  for (const data::Batch& batch : batches) {
    for (const auto& [reason, count] : batch.bad_samples) stats.bad_samples[reason] += count;
    stats.flops += parts_.objective.flops(parts_.model->config(), batch);
  }
  stats.peak_flops_per_second = parts_.peak_flops_per_second;
  return stats;
}

std::vector<double> TrainLoop::bucket_ready() const {
  std::vector<double> shares;
  if (!parts_.device.is_cpu()) return shares;  // a GPU's host is ahead of it
  const auto backward = std::chrono::duration<double>(backward_ended_ - backward_began_);
  for (const comm::GradientReducer::FullAt& full : parts_.reducer.full_at()) {
    const double share = full ? (*full - backward_began_) / backward : 1;
    shares.push_back(std::round(1e4 * std::clamp(share, 0.0, 1.0)) / 1e4);
  }
  return shares;
}

std::string TrainLoop::skip(checkpoint::Description& run, const std::string& culprit) {
  if (parts_.control.rank() == 0) {
    log::warn("step {} is skipped on all ranks: {} is not finite", run.step + 1, culprit);
  }
  if (++run.skipped_in_a_row < config_.max_skipped_steps) return "not_finite";
  throw SharedError(
      fmt::format("{} steps in a row were not finite (train.max-skipped-steps), the last one because of {}: start a "
                  "new run from the last checkpoint with lower learning rates (--init RUN, another --run.dir), or look "
                  "at the data of that step",
                  run.skipped_in_a_row, culprit));
}

void TrainLoop::forward_backward(const std::vector<data::Batch>& batches, std::size_t i, LossTotals& totals) {
  const std::string name = fmt::format("micro-batch {}", batches[i].micro_batch.index);
  enter(Phase::Forward, name);
  const data::Batch batch = device_copies_.take(batches, i);
  // Dropout's seed comes from the place in the global list: the same at any world size, and nothing to save.
  at::manual_seed(key(parts_.stream.seed(), batch.at.epoch, batch.at.step, batch.micro_batch.index, Purpose::kDropout));
  std::vector<objectives::LossTerm> losses;
  {
    const model::Autocast autocast(parts_.device.type(), parts_.precision);
    losses = parts_.objective.losses(parts_.model, batch);
  }
  totals.keep(batch.micro_batch.index, losses);

  wait_in(Wait::Counts, "counts");  // the step's first micro-batch waits here
  const torch::Tensor loss = totals.loss(losses);

  enter(Phase::Backward, name);
  backward_began_ = std::chrono::steady_clock::now();
  loss.backward();
  backward_ended_ = std::chrono::steady_clock::now();
}

std::string TrainLoop::find_culprit(const std::vector<data::Batch>& batches, data::Position at,
                                    const LossTotals& totals) {
  const comm::SumTree tree = tree_of(at);
  for (std::size_t term = 0; term < totals.terms().size(); ++term) {
    const std::int64_t index = totals.first_not_finite(term);
    if (index >= 0) {
      return fmt::format("the {} loss of micro-batch {} on rank {}", totals.terms()[term], index, tree.owner(index));
    }
  }

  // The losses were finite, so some gradient was not. Their sum does not show whose, but the step can be repeated
  // without the reduction, because everything random in it is keyed.
  LossTotals again = totals;
  torch::Tensor bad = at::zeros({tree.leaves()}, at::kLong);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    parts_.reducer.zero_grad();
    forward_backward(batches, i, again);
    bad[batches[i].micro_batch.index] = !parts_.reducer.finite();
  }
  parts_.model->take_batch_statistics();  // drops the statistics of the repetition
  activity::waiting(Wait::Culprit, "whose gradient is not finite");
  parts_.control.all_reduce(bad, comm::ReduceOp::Sum)->wait();
  for (std::int64_t index = 0; index < tree.leaves(); ++index) {
    if (bad[index].item<std::int64_t>() == 0) continue;
    return fmt::format("the gradient of micro-batch {} on rank {}", index, tree.owner(index));
  }
  return "the sum of all micro-batches' gradients";
}

bool TrainLoop::stop_wanted(const checkpoint::Description& run) const {
  if (stop_signalled()) return true;
  if (parts_.control.rank() != 0) return false;
  std::error_code no_answer;  // a network file system may fail at times
  return std::filesystem::exists(parts_.stop_file, no_answer) || parts_.deadline.reached(run.save_seconds);
}

}  // namespace pixelbert::train
