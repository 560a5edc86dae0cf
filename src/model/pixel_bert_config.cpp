#include "model/pixel_bert_config.h"

#include <algorithm>

#include "model/resnet.h"

namespace pixelbert::model {

void find_problems(const PixelBertConfig& config, Problems& problems) {
  constexpr std::int64_t kMostWidth = 1 << 20;  // of a matrix
  const std::vector<std::string> backbones = backbone_names();
  problems.require(
      std::ranges::find(backbones, config.backbone) != backbones.end(),
      fmt::format("--model.backbone must be one of {}, found '{}'", fmt::join(backbones, ", "), config.backbone));
  problems.require(config.visual_kernel == 1 || config.visual_kernel == 3,
                   fmt::format("--model.visual-kernel must be 1 or 3, found {}", config.visual_kernel));
  problems.between("model.frozen-stages", config.frozen_stages, 0, 5);
  problems.between("model.sampled-pixels", config.sampled_pixels, 0, std::numeric_limits<std::int32_t>::max());
  problems.between("model.intermediate", config.intermediate, 0, kMostWidth);
  problems.between("model.layers", config.layers, 1, kMostWidth);
  problems.between("model.heads", config.heads, 1, kMostWidth);
  problems.between("model.hidden", config.hidden, 1, kMostWidth);
  problems.between("model.positions", config.positions, 3, kMostWidth);
  problems.require(
      config.heads < 1 || (config.hidden > 0 && config.hidden % config.heads == 0),
      fmt::format("--model.hidden must be a multiple of --model.heads {}, found {}", config.heads, config.hidden));
  problems.dropout("model.dropout", config.dropout);
}

}  // namespace pixelbert::model
