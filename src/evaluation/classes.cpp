#include "evaluation/classes.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::evaluation {
namespace {

// "yes/no" -> "yes_no"
std::string label_of(std::string type) {
  std::ranges::replace_if(type, [](unsigned char c) { return !std::isalnum(c); }, '_');
  return type;
}

double accuracy_of(std::int64_t answer, const std::vector<shards::Answer>& answers) {
  const auto found = std::ranges::find_if(answers, [&](const shards::Answer& known) { return known.index == answer; });
  return found == answers.end() ? 0 : found->accuracy;
}

struct Mean {
  double sum = 0;
  std::int64_t count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return sum / static_cast<double>(count); }
};

}  // namespace

std::vector<torch::Tensor> chosen_classes(const Logits& logits, const data::DataSets& data, const Pass& pass) {
  std::vector<torch::Tensor> chosen;
  for (const auto& set : data) chosen.push_back(at::zeros({set->texts()}, at::kLong));
  for_each_batch(pass, [&](const data::Batch& batch) {
    const torch::Tensor scores = logits(batch.to(pass.device));
    PB_CHECK(scores.isfinite().all().item<bool>(),
             "the scores of micro-batch {} are not finite: the weights are damaged, or too large for this precision",
             batch.at.step);
    const torch::Tensor best = scores.argmax(1).cpu();
    const auto* classes = best.const_data_ptr<std::int64_t>();
    for (const data::Pair& pair : batch.pairs) {
      chosen[pair.data_set].mutable_data_ptr<std::int64_t>()[pair.text] = *classes++;
    }
  });
  // Each text was read by one rank; the others add zero.
  activity::waiting(activity::Wait::Sums, "all ranks' answers");
  for (torch::Tensor& of_set : chosen) pass.control.all_reduce(of_set, comm::ReduceOp::Sum)->wait();
  return chosen;
}

Metrics vqa_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen) {
  std::map<std::string, Mean> means;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const std::vector<std::string> types = shards::answer_types(data[i]->manifest());
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      const std::int64_t type = data[i]->group(text);
      if (type < 0) continue;  // a test question
      PB_CHECK(
          type < std::ssize(types),
          "question {} of {} has type {}, but the option answer-types of its manifest names {}: make the shards again",
          data[i]->text_id(text), data[i]->folder().string(), type, types.size());
      const double accuracy = accuracy_of(chosen[i].const_data_ptr<std::int64_t>()[text], data[i]->answers(text));
      means["vqa_score"].add(accuracy);
      means["vqa_score_" + label_of(types[type])].add(accuracy);
    }
  }
  Metrics metrics;
  for (const auto& [name, mean] : means) metrics[name] = mean.value();
  return metrics;
}

Metrics nlvr2_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen) {
  Mean accuracy, consistency;
  std::map<std::pair<std::size_t, std::int64_t>, bool> all_right;  // by data set and sentence
  for (std::size_t i = 0; i < data.size(); ++i) {
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      const std::vector<shards::Answer> label = data[i]->answers(text);
      if (label.empty()) continue;
      const bool right = label[0].index == chosen[i].const_data_ptr<std::int64_t>()[text];
      accuracy.add(right);
      PB_CHECK(data[i]->group(text) >= 0,
               "statement {} of {} belongs to no sentence, which consistency needs: make the shards again",
               data[i]->text_id(text), data[i]->folder().string());
      const auto [sentence, is_new] = all_right.try_emplace({i, data[i]->group(text)}, true);
      sentence->second &= right;
    }
  }
  if (accuracy.count == 0) return {};
  for (const auto& [sentence, right] : all_right) consistency.add(right);
  return {{"accuracy", accuracy.value()}, {"consistency", consistency.value()}};
}

}  // namespace pixelbert::evaluation
