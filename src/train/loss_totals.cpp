#include "train/loss_totals.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace pixelbert::train {

std::vector<std::vector<std::int64_t>> counts_of(const objectives::Objective& objective,
                                                 const std::vector<data::Batch>& batches) {
  std::vector<std::vector<std::int64_t>> counts;
  for (const data::Batch& batch : batches) counts.push_back(objective.counts(batch));
  return counts;
}

LossTotals::LossTotals(const std::vector<std::string>& terms, std::int64_t micro_batches,
                       const std::vector<std::vector<std::int64_t>>& local_counts, comm::Communicator& control)
    : terms_(terms), control_(&control) {
  const auto n = static_cast<std::int64_t>(terms.size());
  counts_ = at::zeros({n}, at::kLong);
  auto* counts = counts_.mutable_data_ptr<std::int64_t>();
  for (const auto& of_batch : local_counts) {
    for (std::size_t term = 0; term < terms.size(); ++term) counts[term] += of_batch[term];
  }
  const std::int64_t sums = micro_batches * n * 2;
  sent_ = at::zeros({sums + 3}, at::kDouble);
  sums_ = sent_.narrow(0, 0, sums).view({micro_batches, n, 2});
  counting_ = control.all_reduce(counts_, comm::ReduceOp::Sum);
}

void LossTotals::wait_for_counts() {
  if (counting_) counting_->wait();
  counting_.reset();
}

torch::Tensor LossTotals::loss(const std::vector<objectives::LossTerm>& losses) {
  wait_for_counts();
  torch::Tensor loss;
  for (std::size_t term = 0; term < terms_.size(); ++term) {
    const torch::Tensor mean = losses[term].sum / static_cast<double>(std::max<std::int64_t>(count(term), 1));
    loss = loss.defined() ? loss + mean : mean;
  }
  return loss;
}

void LossTotals::keep(std::int64_t index, const std::vector<objectives::LossTerm>& losses) {
  std::vector<torch::Tensor> values;
  for (const objectives::LossTerm& term : losses) {
    values.push_back(term.sum.detach());
    values.push_back(term.correct.detach());
  }
  kept_.emplace_back(index, at::stack(values).to(at::kDouble));
}

std::vector<torch::Tensor> LossTotals::kept() const {
  std::vector<torch::Tensor> values;
  for (const auto& [index, of_batch] : kept_) values.push_back(of_batch);
  return values;
}

torch::Tensor LossTotals::veto() const {
  if (kept_.empty()) return {};
  const torch::Tensor losses = at::stack(kept()).view({-1, 2}).select(1, 0);
  return at::where(losses.isfinite().all(), 0.0, std::numeric_limits<double>::quiet_NaN()).to(at::kFloat);
}

void LossTotals::finish(const torch::Tensor& kept_on_host, Requests own) {
  const torch::Tensor values = kept_on_host.view({std::ssize(kept_), std::ssize(terms_), 2});
  for (std::size_t i = 0; i < kept_.size(); ++i) sums_[kept_[i].first].copy_(values[static_cast<std::int64_t>(i)]);
  kept_.clear();
  double* const asked = sent_.mutable_data_ptr<double>() + sums_.numel();
  asked[0] = own.stop;
  asked[1] = own.save;
  asked[2] = own.end;
  wait_for_counts();
  control_->all_reduce(sent_, comm::ReduceOp::Sum)->wait();  // each row has one owner, the others add zero
}

Requests LossTotals::requests() const {
  const double* const asked = sent_.const_data_ptr<double>() + sums_.numel();
  return {.stop = asked[0] > 0, .save = asked[1] > 0, .end = asked[2] > 0};
}

std::int64_t LossTotals::count(std::size_t term) const {
  return counts_.const_data_ptr<std::int64_t>()[term];
}

double LossTotals::column(std::size_t term, std::int64_t which) const {
  const auto sums = sums_.accessor<double, 3>();
  double sum = 0;
  for (std::int64_t i = 0; i < sums.size(0); ++i) sum += sums[i][static_cast<std::int64_t>(term)][which];
  return sum;
}

double LossTotals::sum(std::size_t term) const {
  return column(term, 0);
}
double LossTotals::correct(std::size_t term) const {
  return column(term, 1);
}

double LossTotals::mean(std::size_t term) const {
  return sum(term) / static_cast<double>(std::max<std::int64_t>(count(term), 1));
}

double LossTotals::accuracy(std::size_t term) const {
  return correct(term) / static_cast<double>(std::max<std::int64_t>(count(term), 1));
}

std::int64_t LossTotals::first_not_finite(std::size_t term) const {
  const auto sums = sums_.accessor<double, 3>();
  for (std::int64_t i = 0; i < sums.size(0); ++i) {
    if (!std::isfinite(sums[i][static_cast<std::int64_t>(term)][0])) return i;
  }
  return -1;
}

}  // namespace pixelbert::train
