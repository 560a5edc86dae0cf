// The options of the model, as plain data.
#pragma once

#include <cstdint>
#include <string>

namespace pixelbert::model {

// What the paper leaves open follows SOHO, by the same authors, or BERT.
struct PixelBertConfig {
  std::string backbone = "resnet50";       // one of backbone_names() in model/resnet.h
  std::string batch_norm = "local";        // "frozen": running statistics; "local": those of the micro-batch
  std::int64_t frozen_stages = 2;          // 0 none, 1 stem, 2 stem and layer1 (SOHO), ... 5 the whole CNN
  std::int64_t visual_kernel = 1;          // 1 or 3
  std::string visual_order = "conv-pool";  // (paper, Figure 2); or "pool-conv" (SOHO), "conv" (no pooling)
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

}  // namespace pixelbert::model
