// A model that takes hardly any time.
#pragma once

#include "model/pixel_bert_config.h"

namespace pixelbert::tasks {

inline model::PixelBertConfig small_config() {
  model::PixelBertConfig config;
  config.backbone = "resnet18";
  config.batch_norm = model::NormMode::Frozen;  // a pair then does not depend on the others of its batch
  config.vocabulary = 50;
  config.hidden = 32;
  config.layers = 1;
  config.heads = 4;
  config.positions = 12;
  config.dropout = 0;
  return config;
}

}  // namespace pixelbert::tasks
