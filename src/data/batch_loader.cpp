#include "data/batch_loader.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <utility>

#include "core/activity.h"
#include "core/check.h"
#include "core/single_thread.h"

namespace pixelbert::data {

BatchLoader::BatchLoader(const BatchMaker& maker, const LoaderConfig& config, Share share, const Steps& steps,
                         torch::Device device)
    : maker_(maker),
      stream_(maker.stream()),
      config_(config),
      share_(share),
      steps_(steps),
      device_(device),
      next_load_(steps.begin),
      next_at_(steps.begin) {
  validate(config_);
  // With more ranks than micro-batches this rank may have none in any step; a thread would look for work in all.
  const Position last{steps.begin.epoch, stream_.steps_per_epoch() - 1};
  if (owned({steps.begin.epoch, 0}).empty() && owned(last).empty()) return;
  for (std::int64_t i = 0; i < config_.threads; ++i) {
    threads_.emplace_back([this, i](const std::stop_token& stop) {
      activity::name_thread(fmt::format("loader {}", i));
      run(stop);
    });
  }
}

BatchLoader::~BatchLoader() {
  for (std::jthread& thread : threads_) thread.request_stop();  // all, before waiting for the first
}

std::vector<Batch> BatchLoader::load(Position at) {
  std::unique_lock lock(mutex_);
  PB_CHECK(at == next_load_, "steps are loaded one after the other: expected epoch {} step {}, found epoch {} step {}",
           next_load_.epoch, next_load_.step, at.epoch, at.step);
  PB_CHECK(at < steps_.end, "expected a step before epoch {} step {}, found epoch {} step {}", steps_.end.epoch,
           steps_.end.step, at.epoch, at.step);
  std::vector<Batch> batches;
  for (std::size_t i = owned(at).size(); i > 0; --i) batches.push_back(take(lock));
  next_load_ = stream_.after(at, steps_.stride);
  return batches;
}

std::optional<Batch> BatchLoader::next() const {
  const std::lock_guard lock(mutex_);
  const auto next = made_.find(taken_);
  const auto* batch = next == made_.end() ? nullptr : std::get_if<Batch>(&next->second);
  return batch ? std::optional(*batch) : std::nullopt;
}

std::int64_t BatchLoader::queued() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(made_);
}

void BatchLoader::run(const std::stop_token& stop) {
  at::get_num_threads();  // as single_thread.h asks
  use_single_thread();
  while (const std::optional<Work> work = next_work(stop)) {
    std::variant<Batch, std::exception_ptr> result;
    activity::doing(activity::Phase::Data, fmt::format("micro-batch {} of epoch {}, step {}", work->micro_batch.index,
                                                       work->at.epoch, work->at.step));
    try {
      activity::begin_step(work->at.epoch * stream_.steps_per_epoch() + work->at.step + 1);
      std::optional<Batch> batch = maker_.make(work->at, work->micro_batch, stop, device_);
      if (!batch) return;
      result = *std::move(batch);
    } catch (...) {
      result = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    made_.emplace(work->number, std::move(result));
    changed_.notify_all();
  }
}

std::optional<BatchLoader::Work> BatchLoader::next_work(const std::stop_token& stop) {
  activity::doing(activity::Phase::Data, "waiting: the queue is full");
  std::unique_lock lock(mutex_);
  if (!changed_.wait(lock, stop, [&] { return started_ - taken_ < config_.queue(); })) return std::nullopt;
  for (; next_at_ < steps_.end; next_at_ = stream_.after(next_at_, steps_.stride), next_in_step_ = 0) {
    const std::vector<MicroBatch> mine = owned(next_at_);
    if (next_in_step_ < mine.size()) return Work{started_++, next_at_, mine[next_in_step_++]};
  }
  return std::nullopt;
}

std::vector<MicroBatch> BatchLoader::owned(Position at) const {
  return stream_.micro_batches(at, share_);
}

Batch BatchLoader::take(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [&] { return made_.contains(taken_); });
  const auto due = made_.find(taken_);
  if (const auto* error = std::get_if<std::exception_ptr>(&due->second)) std::rethrow_exception(*error);
  Batch batch = std::get<Batch>(std::move(due->second));
  made_.erase(due);
  ++taken_;
  changed_.notify_all();
  return batch;
}

}  // namespace pixelbert::data
