// Converts published weights to the names and form of model.safetensors: torchvision's ResNet and Hugging Face's BERT,
// in all spellings in use.
//
// A prefix of all names ("module.", "backbone.", "state_dict.", ...) is recognised and dropped.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pixelbert::model {

using Tensors = std::map<std::string, torch::Tensor>;

struct PublishedWeights {
  std::string file;                   // their source, for messages
  Tensors tensors;                    // under our names
  std::vector<std::string> left_out;  // names in the file that this program does not use
};

// "conv1.weight" becomes "backbone.conv1.weight"; the classifier is left out. Throws Error if there is no ResNet.
PublishedWeights from_torchvision(const Tensors& published, const std::string& file);

// Takes BertModel or any model that contains one ("bert."), with or without an MLM head ("cls.predictions.").
// LayerNorms may be spelled gamma and beta; the tied decoder may be missing. The type embedding of the first segment,
// which all texts have, is added to every position; that of the second becomes the pixels' semantic embedding. The
// pooler and the next-sentence head are left out. Throws Error if there is no BERT, or if a file has both spellings of
// a LayerNorm.
PublishedWeights from_hugging_face(const Tensors& published, const std::string& file);

// Returns the name in backbone_names() that has these convolutions; "" if none has.
std::string backbone_of(const PublishedWeights& weights);

// Returns whether every BatchNorm is only a scale and a bias: running mean 0, and a variance that is 1 with epsilon
// added. Such weights have lost the statistics and work only with --model.batch-norm frozen (tools/to_safetensors.py
// makes them).
bool has_affine_batch_norm(const PublishedWeights& weights);

struct BertSizes {
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t intermediate = 0;
  std::int64_t positions = 0;
};
BertSizes bert_sizes(const PublishedWeights& weights);

// Copies `weights` into the tensors of a model, in place; names that the model lacks are added to `left_out`. A part of
// the model (backbone, bert, cls) must be complete or absent. Throws Error listing the missing names, or naming a
// tensor that has another shape or a value that is not finite.
void copy_into(const Tensors& model, PublishedWeights& weights);

}  // namespace pixelbert::model
