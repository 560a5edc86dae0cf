#include "optim/optim_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pixelbert::optim {
namespace {

Schedule schedule_of(const OptimConfig& config, double base, std::int64_t steps_per_epoch) {
  Schedule schedule{.base = base,
                    .warmup_steps = config.warmup_steps,
                    .warmup_factor = config.warmup_factor,
                    .drop_at_steps = {},
                    .drop_factor = config.drop_factor};
  for (const double epoch : config.drop_epochs) {
    constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
    const double step = epoch * static_cast<double>(steps_per_epoch);
    schedule.drop_at_steps.push_back(step < static_cast<double>(kNever) ? std::llround(step) : kNever);
  }
  return schedule;
}

}  // namespace

void find_problems(const OptimConfig& config, Problems& problems) {
  const auto require = [&](bool holds, const char* option, const char* expected, double found) {
    problems.require(holds, fmt::format("--{} must be {}, found {}", option, expected, found));
  };
  const auto share = [&](const char* option, double value) {
    require(value >= 0 && value < 1, option, "at least 0 and below 1", value);
  };
  // The operators compute in float32: a larger number becomes infinity, and 0 times that is NaN.
  const auto not_negative = [&](const char* option, double value) {
    require(value >= 0 && value <= std::numeric_limits<float>::max(), option, "from 0 to 3.4e38", value);
  };
  not_negative("optim.backbone-rate", config.backbone_rate);
  share("optim.backbone-momentum", config.backbone_momentum);
  not_negative("optim.backbone-weight-decay", config.backbone_weight_decay);
  not_negative("optim.transformer-rate", config.transformer_rate);
  not_negative("optim.transformer-weight-decay", config.transformer_weight_decay);
  share("optim.beta1", config.beta1);
  share("optim.beta2", config.beta2);
  // Less would be 0 in float32, and a weight without a gradient would become 0 / 0.
  require(config.eps >= std::numeric_limits<float>::min() && config.eps <= std::numeric_limits<float>::max(),
          "optim.eps", "from 1.2e-38 to 3.4e38", config.eps);
  require(config.warmup_steps >= 0, "optim.warmup-steps", "at least 0", static_cast<double>(config.warmup_steps));
  require(config.warmup_factor >= 0 && config.warmup_factor <= 1, "optim.warmup-factor", "from 0 to 1",
          config.warmup_factor);
  for (const double epoch : config.drop_epochs) require(epoch > 0, "optim.drop-epochs", "more than 0 each", epoch);
  require(config.drop_factor > 0 && config.drop_factor <= 1, "optim.drop-factor", "more than 0, at most 1",
          config.drop_factor);
  require(config.clip_norm >= 0 && std::isfinite(config.clip_norm), "optim.clip-norm", "at least 0", config.clip_norm);
}

OptimizerGroups make_optimizer(const OptimConfig& config, NamedParameters backbone, NamedParameters transformer,
                               std::int64_t steps_per_epoch) {
  validate(config);
  std::vector<Group> groups;
  if (!backbone.empty()) {
    groups.push_back({.name = "backbone",
                      .parameters = std::move(backbone),
                      .algorithm = config.backbone_algorithm,
                      .schedule = schedule_of(config, config.backbone_rate, steps_per_epoch),
                      .weight_decay = config.backbone_weight_decay,
                      .decay_vectors = config.decay_vectors,
                      .momentum = config.backbone_momentum,
                      .beta1 = config.beta1,
                      .beta2 = config.beta2,
                      .eps = config.eps});
  }
  if (!transformer.empty()) {
    groups.push_back({.name = "transformer",
                      .parameters = std::move(transformer),
                      .algorithm = Algorithm::AdamW,
                      .schedule = schedule_of(config, config.transformer_rate, steps_per_epoch),
                      .weight_decay = config.transformer_weight_decay,
                      .decay_vectors = config.decay_vectors,
                      .beta1 = config.beta1,
                      .beta2 = config.beta2,
                      .eps = config.eps});
  }
  return {std::move(groups), config.clip_norm};
}

}  // namespace pixelbert::optim
