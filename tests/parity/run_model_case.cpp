// One case of model_parity.py: run_model_case case.json inputs.safetensors results.safetensors
//
// Makes a model with random weights, runs it forward and backward on the inputs, and writes the weights under their
// names in model.safetensors, the outputs as "out.*" and the gradients as "grad.*".
#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "core/files.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"
#include "tasks/nlvr2.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"

namespace pixelbert {
namespace {

using checkpoint::NamedTensors;
using nlohmann::json;

template <class Enum>
Enum enum_named(const std::string& name) {
  const auto all = names(Enum());
  const auto* const found = std::ranges::find(all, name);
  PB_CHECK(found != all.end(), "model_parity.py asks for '{}', expected one of {}", name, fmt::join(all, ", "));
  return static_cast<Enum>(found - all.begin());
}

model::PixelBertConfig config_of(const json& given) {
  model::PixelBertConfig config;
  config.dropout = 0;
  for (const auto& [name, value] : given.items()) {
    if (name == "backbone")
      config.backbone = value;
    else if (name == "batch_norm")
      config.batch_norm = enum_named<model::NormMode>(value);
    else if (name == "frozen_stages")
      config.frozen_stages = value;
    else if (name == "visual_kernel")
      config.visual_kernel = value;
    else if (name == "visual_order")
      config.visual_order = enum_named<model::VisualOrder>(value);
    else if (name == "visual_relu")
      config.visual_relu = value;
    else if (name == "pixel_layernorm")
      config.pixel_layernorm = value;
    else if (name == "sampled_pixels")
      config.sampled_pixels = value;
    else if (name == "vocabulary")
      config.vocabulary = value;
    else if (name == "hidden")
      config.hidden = value;
    else if (name == "layers")
      config.layers = value;
    else if (name == "heads")
      config.heads = value;
    else if (name == "positions")
      config.positions = value;
    else
      fail("model_parity.py asks for an option that this tool does not know: " + name);
  }
  return config;
}

// Biases of 0 and running variances of 1 would hide mistakes.
void perturb(torch::nn::Module& module) {
  const at::NoGradGuard no_grad;
  for (torch::Tensor& parameter : module.parameters()) {
    if (parameter.dim() == 1) parameter.add_(at::randn_like(parameter), 0.1);
  }
  for (const auto& buffer : module.named_buffers()) {
    if (buffer.key().ends_with("running_mean")) buffer.value().normal_(0, 0.2);
    if (buffer.key().ends_with("running_var")) buffer.value().uniform_(0.5, 1.5);
  }
}

class Results {
 public:
  void keep(const std::string& name, const torch::Tensor& tensor) { tensors_["out." + name] = tensor.detach(); }

  void keep_weights(const torch::nn::Module& module, const std::string& prefix) {
    for (const auto& item : module.named_parameters()) tensors_[prefix + item.key()] = item.value().detach().clone();
    for (const auto& item : module.named_buffers()) tensors_[prefix + item.key()] = item.value().clone();
  }

  void keep_gradients(const torch::nn::Module& module, const std::string& prefix) {
    for (const auto& item : module.named_parameters()) {
      if (item.value().grad().defined()) tensors_["grad." + prefix + item.key()] = item.value().grad().to_dense();
    }
  }

  void write(const std::string& path) const { checkpoint::write_safetensors(path, tensors_); }

 private:
  NamedTensors tensors_;
};

void run_resnet(const json& request, const NamedTensors& inputs, Results& results) {
  const auto config = config_of(request["config"]);
  const auto mode = config.batch_norm;
  model::ResNet resnet(config.backbone, mode, config.frozen_stages);
  perturb(*resnet);
  resnet->to(inputs.at("images").scalar_type());
  model::use_channels_last(*resnet);
  results.keep_weights(*resnet, "backbone.");

  resnet->train(request["train"]);
  const torch::Tensor features = resnet->forward(inputs.at("images").contiguous(at::MemoryFormat::ChannelsLast));
  features.backward(inputs.at("gradient"));
  results.keep("features", features);
  results.keep_gradients(*resnet, "backbone.");
  if (request["train"] && mode == model::NormMode::Local) {
    resnet->update_running_statistics(resnet->take_batch_statistics(), at::ones({}, at::kBool));
    for (const auto& item : resnet->named_buffers()) results.keep("updated." + item.key(), item.value());
  }
}

void run_bert(const json& request, const NamedTensors& inputs, Results& results) {
  const auto config = config_of(request["config"]);
  model::Bert bert(config);
  objectives::MlmHead cls(config.hidden, config.vocabulary);
  perturb(*bert);
  perturb(*cls);
  results.keep_weights(*bert, "bert.");
  results.keep_weights(*cls, "cls.");

  const model::EmbeddedText text = bert->embed(inputs.at("tokens"));
  const torch::Tensor hidden = bert->encode(text.tokens, inputs.at("token_mask"), inputs.at("tokens").size(1));
  const torch::Tensor logits = cls->forward(hidden.flatten(0, 1), text.decoder);
  const torch::Tensor loss = at::cross_entropy_loss(logits.index_select(0, inputs.at("mlm_positions")),
                                                    inputs.at("mlm_labels"), {}, at::Reduction::Mean);
  loss.backward();
  results.keep("hidden", hidden);
  results.keep("attention", at::cat(bert->attentions(text.tokens.detach(), inputs.at("token_mask"))));
  results.keep("logits", logits);
  results.keep("loss", loss);
  results.keep_gradients(*bert, "bert.");
  results.keep_gradients(*cls, "cls.");
}

void run_pixel_bert(const json& request, const NamedTensors& inputs, Results& results) {
  const auto config = config_of(request["config"]);
  model::PixelBert pixel_bert(config);
  const auto pretrain = std::make_shared<tasks::PretrainObjective>(config);
  perturb(*pixel_bert);
  perturb(*pretrain);
  const auto precision = inputs.at("images").scalar_type();
  pixel_bert->to(precision);
  pretrain->to(precision);
  model::use_channels_last(*pixel_bert);
  results.keep_weights(*pixel_bert, "");
  results.keep_weights(*pretrain, "");

  data::Batch batch;
  batch.images = inputs.at("images").contiguous(at::MemoryFormat::ChannelsLast);
  batch.image_sizes = inputs.at("image_sizes");
  batch.image_of_row = inputs.at("image_of_row");
  batch.tokens = inputs.at("tokens");
  batch.token_mask = inputs.at("token_mask");
  batch.mlm_positions = inputs.at("mlm_positions");
  batch.mlm_labels = inputs.at("mlm_labels");
  batch.itm_labels = inputs.at("itm_labels");
  for (std::int64_t pair = 0; request["sample"] && pair < batch.tokens.size(0); ++pair) {
    batch.pixel_keys.push_back(static_cast<std::uint64_t>(pair));
  }

  pixel_bert->train(request["train"]);
  const std::vector<objectives::LossTerm> losses = pretrain->losses(pixel_bert, batch);
  (losses[0].sum / batch.mlm_labels.numel() + losses[1].sum / batch.itm_labels.numel()).backward();
  for (std::size_t term = 0; term < losses.size(); ++term) {
    results.keep(pretrain->terms()[term] + "_sum", losses[term].sum);
    results.keep(pretrain->terms()[term] + "_correct", losses[term].correct);
  }
  results.keep_gradients(*pixel_bert, "");
  results.keep_gradients(*pretrain, "");

  const at::NoGradGuard no_grad;
  const model::Inputs model_inputs = objectives::inputs_of(batch);
  const model::Encoded encoded = pixel_bert->forward(model_inputs);
  const model::ImageLayout layout{batch.image_sizes, batch.image_of_row, {batch.images.size(2), batch.images.size(3)}};
  const model::PixelChoice choice = model::choose_pixels(config, layout, batch.pixel_keys);
  results.keep("hidden", encoded.hidden);
  results.keep("mask", encoded.mask);
  results.keep("cells", choice.cells);
}

std::shared_ptr<objectives::Objective> objective_of(const std::string& task, const json& request,
                                                    const model::PixelBertConfig& config) {
  if (task == "vqa") return std::make_shared<tasks::VqaObjective>(config.hidden, request["answers"], /*dropout=*/0);
  if (task == "nlvr2") return std::make_shared<tasks::Nlvr2Objective>(config.hidden, /*dropout=*/0);
  if (task == "retrieval") return std::make_shared<tasks::RetrievalObjective>(config.hidden, request["hard_negatives"]);
  fail("there is no task " + task);
}

// Fine-tuning: one loss, the mean over the samples.
void run_task(const json& request, const NamedTensors& inputs, Results& results) {
  const auto config = config_of(request["config"]);
  model::PixelBert pixel_bert(config);
  const std::string task = request["task"];
  const auto objective = objective_of(task, request, config);
  perturb(*pixel_bert);
  perturb(*objective);
  model::use_channels_last(*pixel_bert);
  results.keep_weights(*pixel_bert, "");
  results.keep_weights(*objective, "");

  data::Batch batch;
  batch.pairs.resize(request["samples"]);
  batch.images = inputs.at("images").contiguous(at::MemoryFormat::ChannelsLast);
  batch.image_sizes = inputs.at("image_sizes");
  batch.image_of_row = inputs.at("image_of_row");
  batch.tokens = inputs.at("tokens");
  batch.token_mask = inputs.at("token_mask");
  if (task == "vqa") batch.answer_scores = inputs.at("answer_scores");
  if (task == "nlvr2") batch.labels = inputs.at("labels");
  const std::vector<objectives::LossTerm> losses = objective->losses(pixel_bert, batch);
  (losses[0].sum / objective->counts(batch)[0]).backward();
  results.keep("sum", losses[0].sum);
  results.keep("correct", losses[0].correct);
  results.keep_gradients(*pixel_bert, "");
  results.keep_gradients(*objective, "");
}

// Writes the state of every backbone, names and shapes only.
void list_backbones(Results& results) {
  for (const std::string& name : model::backbone_names()) {
    const model::ResNet resnet(name, model::NormMode::Local, 0);
    for (const auto& list : {resnet->named_parameters(), resnet->named_buffers()}) {
      for (const auto& item : list) {
        const at::IntArrayRef shape = item.value().sizes();
        results.keep(name + "." + item.key(), at::tensor(shape, at::kLong));
      }
    }
  }
}

void run(const std::string& case_path, const std::string& inputs_path, const std::string& results_path) {
  const json request = json::parse(read_file(case_path));
  const NamedTensors inputs = checkpoint::read_safetensors(inputs_path);
  Results results;
  at::manual_seed(request["seed"].get<std::uint64_t>());
  const std::string what = request["what"];
  if (what == "resnet")
    run_resnet(request, inputs, results);
  else if (what == "bert")
    run_bert(request, inputs, results);
  else if (what == "pixel-bert")
    run_pixel_bert(request, inputs, results);
  else if (what == "task")
    run_task(request, inputs, results);
  else if (what == "backbones")
    list_backbones(results);
  else
    fail("there is no case of kind " + what);
  results.write(results_path);
}

}  // namespace
}  // namespace pixelbert

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: run_model_case case.json inputs.safetensors results.safetensors\n");
    return 2;
  }
  try {
    pixelbert::run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "run_model_case: {}\n", error.what());
    return 1;
  }
}
