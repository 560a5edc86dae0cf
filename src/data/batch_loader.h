// Makes this rank's micro-batches ahead of the loop, in threads, and returns them in the order of the stream.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <variant>
#include <vector>

#include "data/batch.h"
#include "data/batch_maker.h"
#include "data/sample_stream.h"

namespace pixelbert::data {

struct LoaderConfig {
  std::int64_t threads = 2;
  std::int64_t queue_batches = 0;

  std::int64_t queue() const { return queue_batches > 0 ? queue_batches : std::max<std::int64_t>(2 * threads, 4); }
};

// The option that evaluation has, too.
template <class Field>
void describe_threads(LoaderConfig& config, Field&& field) {
  field("data.threads", config.threads, "threads per rank that read and decode", OnResume::Free);
}

template <class Field>
void describe(LoaderConfig& config, Field&& field) {
  describe_threads(config, field);
  field("data.queue-batches", config.queue_batches,
        "micro-batches made ahead of the loop, at most, those in the making counted; 0: two for each thread, and at "
        "least 4",
        OnResume::Free);
}

inline void find_problems(const LoaderConfig& config, Problems& problems) {
  problems.between("data.threads", config.threads, 1, kMostThreads);
  problems.between("data.queue-batches", config.queue_batches, 0, std::numeric_limits<std::int32_t>::max());
}

class BatchLoader {
 public:
  // `maker` must outlive the loader. Batches for a GPU are pinned.
  BatchLoader(const BatchMaker& maker, const LoaderConfig& config, Share share, const Steps& steps,
              torch::Device device = torch::kCPU);
  ~BatchLoader();  // waits only for the images that are being decoded

  // Returns this rank's micro-batches of one step, in order; perhaps none. Load the steps one after the other
  // (stream.after(at, stride)). An error in a thread is thrown here when its micro-batch is due, and from then on.
  std::vector<Batch> load(Position at);

  // Returns the first micro-batch that load() will return next, if it is made. It stays in the queue.
  std::optional<Batch> next() const;

  std::int64_t queued() const;  // made and waiting

 private:
  struct Work {
    std::int64_t number;  // counts this rank's micro-batches since the start
    Position at;
    MicroBatch micro_batch;
  };

  void run(const std::stop_token& stop);
  std::optional<Work> next_work(const std::stop_token& stop);
  std::vector<MicroBatch> owned(Position at) const;
  Batch take(std::unique_lock<std::mutex>& lock);

  const BatchMaker& maker_;
  const SampleStream& stream_;
  const LoaderConfig config_;
  const Share share_;
  const Steps steps_;
  const torch::Device device_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  Position next_load_;
  Position next_at_;  // the next work: micro-batch `next_in_step_` of this rank's in this step
  std::size_t next_in_step_ = 0;
  std::int64_t started_ = 0;                                              // numbers below are being made, or made
  std::int64_t taken_ = 0;                                                // numbers below were returned
  std::map<std::int64_t, std::variant<Batch, std::exception_ptr>> made_;  // by number

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace pixelbert::data
