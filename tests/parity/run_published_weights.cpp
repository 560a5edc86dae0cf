// One half of the model with the weights of a checkpoint, for published_weights.py:
//
//   run_published_weights CHECKPOINT inputs.safetensors results.safetensors
//
// "tokens" [B, T] and "token_mask" [B, T] give "hidden" and "mlm_logits" of the text alone; "pixels" [H, W, 3], uint8
// RGB, give "features" of the CNN, normalised as the program does it.
#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <map>
#include <string>

#include "checkpoint/safetensors.h"
#include "comm/solo_communicator.h"
#include "config/command_line.h"
#include "core/check.h"
#include "images/image_ops.h"
#include "jobs/restore.h"
#include "model/bert.h"
#include "model/resnet.h"
#include "objectives/heads.h"

namespace pixelbert {
namespace {

using checkpoint::NamedTensors;

void load_weights(torch::nn::Module& module, const std::string& prefix, const NamedTensors& weights) {
  for (const auto& list : {module.named_parameters(), module.named_buffers()}) {
    for (const auto& item : list) item.value().copy_(weights.at(prefix + item.key()));
  }
}

void run_text(const model::PixelBertConfig& config, const checkpoint::Weights& saved, const NamedTensors& inputs,
              NamedTensors& results) {
  model::Bert bert(config);
  objectives::MlmHead cls(config.hidden, config.vocabulary);
  load_weights(*bert, "bert.", saved.model);
  load_weights(*cls, "cls.", saved.model);
  bert->eval();
  const model::EmbeddedText text = bert->embed(inputs.at("tokens"));
  results["hidden"] = bert->encode(text.tokens, inputs.at("token_mask"), inputs.at("tokens").size(1));
  results["mlm_logits"] = cls->forward(results["hidden"].flatten(0, 1), text.decoder);
}

void run_cnn(const model::PixelBertConfig& config, const checkpoint::Weights& saved, const NamedTensors& inputs,
             NamedTensors& results) {
  const torch::Tensor& pixels = inputs.at("pixels");
  const torch::Tensor image = images::normalise(pixels.unsqueeze(0).permute({0, 3, 1, 2}),
                                                at::tensor({pixels.size(0), pixels.size(1)}, at::kLong).view({1, 2}));
  model::ResNet resnet(config.backbone, config.batch_norm, /*frozen_stages=*/0);
  load_weights(*resnet, "backbone.", saved.model);
  resnet->train(config.batch_norm == model::NormMode::Frozen);  // Frozen is also frozen in training
  results["features"] = resnet->forward(image);
}

void run(const std::string& checkpoint_path, const std::string& inputs_path, const std::string& results_path) {
  jobs::RestoreConfig restoring;
  config::CommandLine line("parity", "");
  line.add(restoring);
  comm::SoloCommunicator alone;
  const auto saved = *jobs::parse_with_checkpoint({"--checkpoint", checkpoint_path}, line, alone);
  restoring.model.vocabulary = saved.model.at("bert.embeddings.word_embeddings.weight").size(0);
  const NamedTensors inputs = checkpoint::read_safetensors(inputs_path);
  const at::NoGradGuard no_grad;
  NamedTensors results;
  if (inputs.contains("tokens")) run_text(restoring.model, saved, inputs, results);
  if (inputs.contains("pixels")) run_cnn(restoring.model, saved, inputs, results);
  checkpoint::write_safetensors(results_path, results);
}

}  // namespace
}  // namespace pixelbert

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: run_published_weights CHECKPOINT inputs.safetensors results.safetensors\n");
    return 2;
  }
  try {
    pixelbert::run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "run_published_weights: {}\n", error.what());
    return 1;
  }
}
