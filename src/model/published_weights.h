// Weights that others have published, under the names and in the form of model.safetensors: torchvision's ResNet and
// Hugging Face's BERT, with the spellings both occur in.
//
// Whatever stands before all names ("module.", "backbone.", "state_dict.", ...) is recognised and dropped.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pixelbert::model {

using Tensors = std::map<std::string, torch::Tensor>;

struct PublishedWeights {
  std::string file;                   // where they are from, for messages
  Tensors tensors;                    // under our names
  std::vector<std::string> left_out;  // names in the file for which this program has no use
};

// "conv1.weight" becomes "backbone.conv1.weight"; the classifier is left out. Error when there is no ResNet in it.
PublishedWeights from_torchvision(const Tensors& published, const std::string& file);

// BertModel or any model that has one ("bert."), with or without an MLM head ("cls.predictions."). LayerNorms may be
// spelled gamma and beta (Error when a file has both spellings of one), the tied decoder may be there or not. The type
// embedding of the first segment, which all texts have, is added to every position; that of the second becomes the
// pixels' semantic embedding. The pooler and the next-sentence head are left out. Error when there is no BERT in it.
PublishedWeights from_hugging_face(const Tensors& published, const std::string& file);

// Which of backbone_names() has these convolutions; empty when none.
std::string backbone_of(const PublishedWeights& weights);

// Whether every BatchNorm is just a scale and a bias: running mean 0, and a variance that is 1 with epsilon added. Such
// weights have lost the statistics and work with --model.batch-norm frozen alone (tools/to_safetensors.py makes them).
bool has_affine_batch_norm(const PublishedWeights& weights);

struct BertSizes {
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t intermediate = 0;
  std::int64_t positions = 0;
};
BertSizes bert_sizes(const PublishedWeights& weights);

// Copies `weights` into the tensors of a model, in place; what has no place there is added to `left_out`. A part of the
// model (backbone, bert, cls) comes as a whole or not at all: Error listing the names that are missing in it, or naming
// the tensor that has another shape, or a value that is not finite.
void copy_into(const Tensors& model, PublishedWeights& weights);

}  // namespace pixelbert::model
