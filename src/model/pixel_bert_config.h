// The options of the model, as plain data.
#pragma once

#include <cstdint>
#include <string>

#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::model {

// The statistics that BatchNorm normalises with in training: those of the micro-batch, or the running ones.
enum class NormMode { Local, Frozen };
constexpr auto names(NormMode) {
  return std::to_array<std::string_view>({"local", "frozen"});
}

// The layers after the CNN: the paper's Figure 2, SOHO's order, or no pooling.
enum class VisualOrder { ConvPool, PoolConv, Conv };
constexpr auto names(VisualOrder) {
  return std::to_array<std::string_view>({"conv-pool", "pool-conv", "conv"});
}

// Values that the paper leaves open follow SOHO, by the same authors, or BERT.
struct PixelBertConfig {
  std::string backbone = "resnet50";  // one of backbone_names() in model/resnet.h
  NormMode batch_norm = NormMode::Local;
  std::int64_t frozen_stages = 2;  // 0 none, 1 stem, 2 stem and layer1 (SOHO), ... 5 the whole CNN
  std::int64_t visual_kernel = 1;  // 1 or 3
  VisualOrder visual_order = VisualOrder::ConvPool;
  bool visual_relu = false;
  bool pixel_layernorm = false;
  std::int64_t sampled_pixels = 100;  // per pair in pre-training (paper, 3.2); 0: all
  std::int64_t vocabulary = 30522;    // this and the rest: BERT-base
  std::int64_t hidden = 768;
  std::int64_t layers = 12;
  std::int64_t heads = 12;
  std::int64_t intermediate = 0;  // 0: 4 * hidden
  std::int64_t positions = 512;
  double dropout = 0.1;
};

template <class Field>
void describe(PixelBertConfig& config, Field&& field) {
  field("model.backbone", config.backbone,
        "resnet18|34|50|101|152, resnext50-32x4d, resnext101-32x8d, "
        "resnext152-32x4d, resnext152-32x8d");
  field("model.batch-norm", config.batch_norm,
        "local (statistics of the micro-batch; the running ones where it has a single value a channel) or frozen");
  field("model.frozen-stages", config.frozen_stages, "0 none, 1 stem, 2 stem and layer1, ... 5 the whole CNN");
  field("model.visual-kernel", config.visual_kernel, "kernel of the convolution after the CNN: 1 or 3");
  field("model.visual-order", config.visual_order, "conv-pool, pool-conv, or conv (no pooling)");
  field("model.visual-relu", config.visual_relu, "ReLU after convolution and pooling");
  field("model.pixel-layernorm", config.pixel_layernorm, "LayerNorm on pixel tokens");
  field("model.sampled-pixels", config.sampled_pixels, "pixels drawn per pair in pre-training; 0: all");
  field("model.hidden", config.hidden, "width of the Transformer");
  field("model.layers", config.layers, "layers of the Transformer");
  field("model.heads", config.heads, "attention heads");
  field("model.intermediate", config.intermediate, "width of the feed-forward part; 0: 4 x hidden");
  field("model.positions", config.positions, "text positions with an embedding");
  field("model.dropout", config.dropout, "dropout of the Transformer");
}

// Adds a problem, naming the option, for every value that cannot work.
void find_problems(const PixelBertConfig& config, Problems& problems);

}  // namespace pixelbert::model
