// Files of predictions in the official formats.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "data/data_sets.h"

namespace pixelbert::jobs {

// Returns VQA's result file: [{"question_id": 1, "answer": "yes"}, ...].
std::string vqa_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen,
                        const std::vector<std::string>& answers);

// Returns NLVR2's result file: "identifier,prediction" per line, with True or False.
std::string nlvr2_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

// Writes a safetensors file, which has its name only once it is whole.
void write_tensors(const std::string& path, const checkpoint::NamedTensors& tensors);

}  // namespace pixelbert::jobs
