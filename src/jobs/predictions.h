// Files of predictions in the official forms.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "data/data_sets.h"

namespace pixelbert::jobs {

// VQA's result file: [{"question_id": 1, "answer": "yes"}, ...].
std::string vqa_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen,
                        const std::vector<std::string>& answers);

// NLVR2's: "identifier,prediction" a line, with True or False.
std::string nlvr2_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

// A safetensors file, under its name only when it is whole.
void write_tensors(const std::string& path, const checkpoint::NamedTensors& tensors);

}  // namespace pixelbert::jobs
