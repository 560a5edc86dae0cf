// Files of predictions in the official forms.
#pragma once

#include <string>
#include <vector>

#include "apps/job.h"
#include "checkpoint/safetensors.h"

namespace pixelbert::apps {

// VQA's result file: [{"question_id": 1, "answer": "yes"}, ...].
std::string vqa_results(const DataSets& data, const std::vector<torch::Tensor>& chosen, const Strings& answers);

// NLVR2's: "identifier,prediction" a line, with True or False.
std::string nlvr2_results(const DataSets& data, const std::vector<torch::Tensor>& chosen);

// A safetensors file, under its name only when it is whole.
void write_tensors(const std::string& path, const checkpoint::NamedTensors& tensors);

}  // namespace pixelbert::apps
