// Losses and counts of one global batch, with the same bits at any number of ranks.
//
// Counts are added over all ranks before backward, so each micro-batch's gradient is that of the mean over the global
// batch. Sums are kept apart by micro-batch until every rank has all of them and then added in the order of the list:
// the reported loss has the same bits at any number of ranks.
//
// There is one object for each step. The constructor starts the sum of the counts. For each micro-batch, keep() stores
// its sums, and loss() waits for the counts. veto() and kept() follow the last micro-batch. finish() adds what all
// ranks have kept, and their requests, which travel in the same message; count(), sum(), mean() and requests() are
// valid after it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "data/batch.h"
#include "objectives/objective.h"

namespace pixelbert::train {

// Requests that any rank may make for all ranks. They travel with the sums at the end of a step.
struct Requests {
  bool stop = false;
  bool save = false;
  bool end = false;  // the last save has failed for good: every rank waits for its end, which throws
};

std::vector<std::vector<std::int64_t>> counts_of(const objectives::Objective& objective,
                                                 const std::vector<data::Batch>& batches);

class LossTotals {
 public:
  // Starts the addition of the counts; `micro_batches` is the length of the global list.
  LossTotals(const std::vector<std::string>& terms, std::int64_t micro_batches,
             const std::vector<std::vector<std::int64_t>>& local_counts, comm::Communicator& control);

  void wait_for_counts();

  // The gradient's loss: the sum over terms of sum / count. Waits for the counts.
  torch::Tensor loss(const std::vector<objectives::LossTerm>& losses);

  // Keeps the sums of micro-batch `index` of the global list.
  void keep(std::int64_t index, const std::vector<objectives::LossTerm>& losses);

  // What has been kept, float64 [terms * 2] for each micro-batch, on the device. The caller brings it to the host in
  // one copy with what else it waits for, and gives it to finish().
  std::vector<torch::Tensor> kept() const;

  // Returns the veto of GradientReducer::gradient_norm: NaN if a loss that has been kept is not finite. Undefined
  // without any.
  torch::Tensor veto() const;

  // Collective. Every rank calls it once, after its last micro-batch, with its own requests. `kept_on_host` is kept(),
  // one after the other.
  void finish(const torch::Tensor& kept_on_host, Requests own = {});

  Requests requests() const;  // of any rank, after finish()

  // After finish(): over the global batch.
  std::int64_t count(std::size_t term) const;
  double sum(std::size_t term) const;
  double correct(std::size_t term) const;
  double mean(std::size_t term) const;  // 0 when nothing was counted
  double accuracy(std::size_t term) const;
  std::int64_t first_not_finite(std::size_t term) const;  // micro-batch, or -1
  const std::vector<std::string>& terms() const { return terms_; }

 private:
  double column(std::size_t term, std::int64_t which) const;

  std::vector<std::string> terms_;
  comm::Communicator* control_;
  torch::Tensor counts_;  // [terms] int64
  std::shared_ptr<comm::Work> counting_;
  torch::Tensor sent_;                                        // float64: `sums_`, ranks that make each request
  torch::Tensor sums_;                                        // [micro-batches, terms, 2], a view: loss, correct
  std::vector<std::pair<std::int64_t, torch::Tensor>> kept_;  // [terms * 2] each, on the device
};

}  // namespace pixelbert::train
