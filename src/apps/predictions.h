// Files of predictions in the official forms.
#pragma once

#include <string>
#include <vector>

#include "apps/job.h"
#include "evaluation/score_matrix.h"

namespace pixelbert::apps {

// VQA's result file: [{"question_id": 1, "answer": "yes"}, ...].
std::string vqa_results(const DataSets& data, const std::vector<torch::Tensor>& chosen, const Strings& answers);

// NLVR2's: "identifier,prediction" a line, with True or False.
std::string nlvr2_results(const DataSets& data, const std::vector<torch::Tensor>& chosen);

// safetensors: "scores" [images, texts] and "image_of_text" [texts].
void write_scores(const std::string& path, const evaluation::ScoreMatrix& matrix);

}  // namespace pixelbert::apps
