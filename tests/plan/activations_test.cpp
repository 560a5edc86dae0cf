// Compares the computed memory with what LibTorch's allocator gives to a real forward and backward.
#include "plan/activations.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "model/autocast.h"
#include "tasks/nlvr2.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"

namespace pixelbert::plan {
namespace {

// Counts the bytes of this thread's CPU tensors, which is also the thread of their backward.
class Ledger final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t change, std::size_t, std::size_t, c10::Device) override {
    held += change;
    most = std::max(most, held);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t held = 0, most = 0;
};

struct Case {
  std::string name;
  std::function<void(model::PixelBertConfig&, std::shared_ptr<tasks::Task>&, Compute&)> change;
};

data::Batch make_batch(const tasks::Task& task, std::int64_t vocabulary) {
  constexpr std::int64_t kSamples = 8, kImages = 4, kTokens = 20;
  const bool pretrain = task.name() == "pretrain";
  const std::int64_t rows = task.name() == "retrieval" ? 9 * kSamples : task.images() * kSamples;
  data::Batch batch;
  batch.images = at::randn({kImages, 3, 128, 192}).contiguous(at::MemoryFormat::ChannelsLast);
  batch.image_sizes = at::tensor({128, 192}, at::kLong).repeat({kImages, 1});
  batch.image_of_row = at::arange(rows).mul(kImages).div(rows, "floor");
  batch.tokens = at::randint(1, vocabulary, {rows, kTokens}, at::kLong);
  batch.token_mask = at::ones({rows, kTokens}, at::kBool);
  batch.pairs.resize(kSamples);
  if (pretrain) {
    batch.mlm_positions = at::arange(0, kSamples * kTokens, 7);
    batch.mlm_labels = at::randint(1, vocabulary, {batch.mlm_positions.numel()}, at::kLong);
    batch.itm_labels = at::zeros({kSamples});
    for (std::uint64_t i = 0; i < kSamples; ++i) batch.pixel_keys.push_back(i);
  }
  batch.answer_scores = at::rand({kSamples, std::max<std::int64_t>(std::ssize(task.answers()), 1)});
  batch.labels = at::zeros({kSamples}, at::kLong);
  return batch;
}

class ActivationsTest : public testing::TestWithParam<Case> {};

TEST_P(ActivationsTest, AreWhatARealStepAllocates) {
  model::PixelBertConfig config{.backbone = "resnet18",
                                .frozen_stages = 0,
                                .vocabulary = 500,
                                .hidden = 64,
                                .layers = 3,
                                .heads = 4,
                                .positions = 20};
  std::shared_ptr<tasks::Task> task = std::make_shared<tasks::PretrainTask>();
  Compute compute;
  GetParam().change(config, task, compute);
  const model::Precision precision =
      model::available(compute.bf16 ? model::Precision::Bf16 : model::Precision::Float32, at::kCPU);
  compute.bf16 = precision == model::Precision::Bf16;

  at::manual_seed(1);
  model::PixelBert model(config);
  const auto objective = task->objective(config, {});
  model::use_channels_last(*model);
  for (auto& parameters : {model->parameters(), objective->parameters()}) {
    for (torch::Tensor parameter : parameters) {
      if (parameter.requires_grad()) parameter.mutable_grad() = at::zeros_like(parameter);
    }
  }
  const data::Batch batch = make_batch(*task, config.vocabulary);

  const auto step = [&](const Ledger& ledger) {  // returns what forward keeps
    torch::Tensor loss;
    {
      const model::Autocast autocast(at::kCPU, precision);
      for (const objectives::LossTerm& term : objective->losses(model, batch)) {
        loss = loss.defined() ? loss + term.sum : term.sum;
      }
    }
    const std::int64_t kept = ledger.held;
    loss.backward();
    return static_cast<double>(kept);
  };
  step({});  // BatchNorm's statistics are allocated once
  double kept = 0;
  const auto ledger = std::make_shared<Ledger>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, ledger);
    kept = step(*ledger);
  }

  const BatchShape shape = shape_of(batch, config);
  const plan::Activations planned = activations(config, task->head_memory(config, shape, compute.bf16), shape, compute);
  EXPECT_NEAR((planned.all() - planned.passing) / kept, 1, 0.025);  // indices and LayerNorm's statistics are left out
  EXPECT_NEAR(planned.all() / static_cast<double>(ledger->most), 1, 0.1);
}

using M = model::PixelBertConfig;
using T = std::shared_ptr<tasks::Task>;
const std::vector<Case> kCases = {
    {"defaults", [](M&, T&, Compute&) {}},
    {"no_dropout", [](M& m, T&, Compute&) { m.dropout = 0; }},
    {"bf16", [](M&, T&, Compute& c) { c.bf16 = true; }},
    {"bf16_no_dropout", [](M& m, T&, Compute& c) { c.bf16 = true, m.dropout = 0; }},
    {"bottleneck", [](M& m, T&, Compute&) { m.backbone = "resnet50"; }},
    {"resnext", [](M& m, T&, Compute&) { m.backbone = "resnext50-32x4d"; }},
    {"frozen_norm", [](M& m, T&, Compute&) { m.batch_norm = model::NormMode::Frozen; }},
    {"frozen_norm_bf16", [](M& m, T&, Compute& c) { m.batch_norm = model::NormMode::Frozen, c.bf16 = true; }},
    {"frozen_stem", [](M& m, T&, Compute&) { m.frozen_stages = 1; }},
    {"frozen_two", [](M& m, T&, Compute&) { m.frozen_stages = 2; }},
    {"frozen_two_bf16", [](M& m, T&, Compute& c) { m.frozen_stages = 2, m.backbone = "resnet50", c.bf16 = true; }},
    {"frozen_all", [](M& m, T&, Compute&) { m.frozen_stages = 5; }},
    {"conv_only", [](M& m, T&, Compute&) { m.visual_order = model::VisualOrder::Conv; }},
    {"pool_conv_relu",
     [](M& m, T&, Compute&) {
       m.visual_order = model::VisualOrder::PoolConv, m.visual_relu = true, m.visual_kernel = 3;
     }},
    {"pixel_layernorm", [](M& m, T&, Compute&) { m.pixel_layernorm = true; }},
    {"deep", [](M& m, T&, Compute&) { m.layers = 8, m.hidden = 256, m.heads = 4; }},
    {"deep_bf16", [](M& m, T&, Compute& c) { m.layers = 8, m.hidden = 256, m.heads = 4, c.bf16 = true; }},
    {"words", [](M& m, T&, Compute&) { m.vocabulary = 30522, m.frozen_stages = 5; }},
    {"words_bf16", [](M& m, T&, Compute& c) { m.vocabulary = 30522, m.frozen_stages = 5, c.bf16 = true; }},
    {"itm_only",
     [](M&, T& t, Compute&) { dynamic_cast<tasks::PretrainTask&>(*t).options.objectives = tasks::Objectives::Itm; }},
    {"vqa", [](M&, T& t, Compute&) { t = std::make_shared<tasks::VqaTask>(std::vector<std::string>(3129, "yes")); }},
    {"nlvr2", [](M&, T& t, Compute&) { t = std::make_shared<tasks::Nlvr2Task>(); }},
    {"retrieval", [](M& m, T& t, Compute&) { t = std::make_shared<tasks::RetrievalTask>(), m.frozen_stages = 5; }},
};

INSTANTIATE_TEST_SUITE_P(Plan, ActivationsTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace pixelbert::plan
