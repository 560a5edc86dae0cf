// The class a model chooses for each text of a data set: VQA's answer, NLVR2's verdict; and the official scores of
// them.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/sample_reader.h"
#include "evaluation/pass.h"
#include "shards/shard_set.h"

namespace pixelbert::evaluation {

using Logits = std::function<torch::Tensor(const data::Batch&)>;  // of a batch on the device: [N, classes]

// Collective. For each data set [texts] int64, the class with the highest logit; the same on every rank and at any
// number of them. Error when a sample is bad: a figure must not be of other samples than it says.
std::vector<torch::Tensor> chosen_classes(const Logits& logits, const data::DataSets& data, const Pass& pass);

// The official accuracy of the chosen answers (VQA v2: the mean over the nine other annotators), as stored with the
// shards: "vqa_score" and, for each answer type, "vqa_score_yes_no", "vqa_score_number", "vqa_score_other". Questions
// without annotations score nothing; no metrics when none has any.
Metrics vqa_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

// "accuracy", and "consistency": the share of sentences that are judged right about all of their pairs of pictures (the
// official metrics.py). Empty without labels.
Metrics nlvr2_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

}  // namespace pixelbert::evaluation
