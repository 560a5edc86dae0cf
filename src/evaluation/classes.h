// The class that a model chooses for each text of a data set (VQA's answer, NLVR2's verdict), and the official scores.
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

// Collective. Returns for each data set the class with the highest logit, [texts] int64; the same on every rank and for
// any number of ranks. Throws Error when a sample is bad: scores must cover exactly the samples they claim to cover.
std::vector<torch::Tensor> chosen_classes(const Logits& logits, const data::DataSets& data, const Pass& pass);

// Returns the official accuracy of the chosen answers (VQA v2: the mean over the nine other annotators), as stored with
// the shards: "vqa_score" and, for each answer type, "vqa_score_yes_no", "vqa_score_number", "vqa_score_other".
// Questions without annotations do not count; empty when none has any.
Metrics vqa_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

// "accuracy", and "consistency": the share of sentences that are judged right for all of their pairs of images (the
// official metrics.py). Empty without labels.
Metrics nlvr2_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

}  // namespace pixelbert::evaluation
