// The class that a model chooses for each text of a data set: VQA's answer, NLVR2's verdict.
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

#include "data/draft.h"
#include "evaluation/pass.h"
#include "model/pixel_bert.h"

namespace pixelbert::evaluation {

using Logits = std::function<torch::Tensor(const model::Encoded&)>;  // -> [N, classes]

// Collective. Returns for each data set the class with the highest logit, [texts] int64; the same on every rank and for
// any number of ranks. Throws Error when a sample is bad: scores must cover exactly the samples they claim to cover.
std::vector<torch::Tensor> chosen_classes(const Evaluation& evaluation, const data::RowMaker& row_maker,
                                          const Logits& logits);

}  // namespace pixelbert::evaluation
