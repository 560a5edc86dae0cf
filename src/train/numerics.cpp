#include "train/numerics.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/ScopeExit.h>
#include <c10/util/accumulate.h>
#include <torch/version.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "checkpoint/safetensors.h"
#include "comm/make_communicator.h"
#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/host.h"
#include "core/json_text.h"
#include "core/log.h"
#include "model/layers.h"
#include "model/pixel_bert.h"
#include "train/replicas.h"

namespace pixelbert::train {
namespace {

// Numbers between -1 and 1 from whole-number arithmetic, which every processor computes alike; random ones differ.
torch::Tensor numbers(at::IntArrayRef shape, std::int64_t stride) {
  constexpr std::int64_t kPeriod = 2001;  // after which they repeat
  const std::int64_t count = c10::multiply_integers(shape);
  const torch::Tensor once =
      ((at::arange(kPeriod, at::kLong) * stride + 17).remainder(kPeriod) - 1000).to(at::kFloat).div_(1000);
  return once.repeat({(count + kPeriod - 1) / kPeriod}).narrow(0, 0, count).view(shape);
}

// A small Pixel-BERT with every operator of a step.
model::PixelBert small_model(torch::Device device) {
  const torch::NoGradGuard no_grad;
  model::PixelBert model(model::PixelBertConfig{.backbone = "resnet18",
                                                .frozen_stages = 0,
                                                .sampled_pixels = 0,
                                                .vocabulary = 64,
                                                .hidden = 64,
                                                .layers = 1,
                                                .heads = 2,
                                                .positions = 16,
                                                .dropout = 0});
  for (torch::Tensor& weight : model->parameters()) {
    const double fan_in = weight.dim() > 1 ? static_cast<double>(weight.numel() / weight.size(0)) : 1;
    weight.copy_(numbers(weight.sizes(), 7919) / std::sqrt(fan_in));
  }
  model::use_channels_last(*model);
  model->to(device);
  return model;
}

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

Numerics measure_numerics(torch::Device device, model::Precision precision) {
  activity::doing(activity::Phase::Start, "the gradients of a fixed micro-batch");
  const torch::AutoGradMode grad(true);
  // Some of cuDNN's gradients are sums in any order, which would differ from start to start.
  at::Context& context = at::globalContext();
  const bool before = context.deterministicCuDNN();
  context.setDeterministicCuDNN(true);
  const auto restore = c10::make_scope_exit([&] { context.setDeterministicCuDNN(before); });
  model::PixelBert model = small_model(device);
  constexpr std::int64_t kTokens = 8;
  const model::Inputs inputs{
      .images = numbers({2, 3, 96, 96}, 104729).to(device),
      .image_sizes = at::full({2, 2}, 96, at::kLong),
      .image_of_row = at::arange(2, at::kLong),
      .tokens = at::arange(2 * kTokens, at::kLong).view({2, kTokens}).to(device),
      .token_mask = at::ones({2, kTokens}, at::TensorOptions(device).dtype(at::kBool)),
      .pixel_keys = {},
  };
  torch::Tensor loss;
  {
    const model::Autocast autocast(device.type(), precision);
    const model::Encoded encoded = model->forward(inputs);
    const torch::Tensor words = at::linear(encoded.text(), encoded.decoder);
    loss =
        -at::log_softmax(words.to(at::kFloat), -1).select(-1, 3).mean() + encoded.hidden.to(at::kFloat).pow(2).mean();
  }
  loss.backward();
  checkpoint::NamedTensors gradients;
  for (const auto& item : model->named_parameters()) {
    if (item.value().grad().defined()) gradients[item.key()] = item.value().grad();
  }
  return {{"gradient", fmt::format("{:08x}", checkpoint::digest_of(gradients).crc32c)},
          {"instructions", at::get_cpu_capability()},
          {"library", "LibTorch " TORCH_VERSION},
          {"processor", processor()},
          {"threads", fmt::to_string(at::get_num_threads())},
          {"device", comm::device_name(device)},
          {"precision", std::string(name_of(precision))}};
}

std::string difference(const Numerics& one, const Numerics& other) {
  std::vector<std::string> unlike;
  for (const auto& [name, value] : one) {
    const auto found = other.find(name);
    const bool same = found != other.end() && found->second == value;
    if (name == "gradient" && same) return "";
    if (name == "gradient" || same) continue;
    const char* unit = name == "threads" ? " threads" : "";
    unlike.push_back(
        fmt::format("{}{} instead of {}{}", value, unit, found == other.end() ? "?" : found->second, unit));
  }
  return unlike.empty() ? "for a reason that this program does not know" : fmt::format("{}", fmt::join(unlike, ", "));
}

void compare_numerics(const Numerics& own, const Numerics& saved, const std::filesystem::path& folder, bool same,
                      comm::Communicator& control) {
  activity::waiting(activity::Wait::Start, "the other ranks' gradients of a fixed micro-batch");
  const std::vector<std::string> all = comm::gather_texts(json_text(nlohmann::json(own)), control);
  const std::vector<std::string> hosts = comm::gather_texts(host_name(), control);
  const auto first = nlohmann::json::parse(all[0]).get<Numerics>();
  std::vector<std::string> problems;
  std::set<std::string> named;
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    const std::string unlike = difference(nlohmann::json::parse(all[rank]).get<Numerics>(), first);
    if (unlike.empty() || !named.insert(hosts[rank] + unlike).second) continue;
    problems.push_back(fmt::format("rank {} on {} differs from rank 0 on {} in the last bits of its results: {}", rank,
                                   hosts[rank], hosts[0], unlike));
  }
  if (!saved.empty()) {
    const std::string unlike = difference(first, saved);
    if (!unlike.empty()) {
      problems.push_back(fmt::format("{} differs from the run in {} so far in the last bits of its results: {}",
                                     hosts[0], folder.string(), unlike));
    }
  }
  if (problems.empty()) return;
  if (same) {
    throw SharedError(fmt::format("--train.same-numerics: {}", fmt::join(problems, "; ")));
  }
  if (control.rank() != 0) return;
  for (const std::string& problem : problems) log::warn("{}", problem);
  log::warn(
      "results will differ in their last bits from those of a run on equal hosts; --train.same-numerics makes this an "
      "error");
}

}  // namespace pixelbert::train
