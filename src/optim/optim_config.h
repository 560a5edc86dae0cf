// The options of the optimizer. What the paper does not state follows SOHO, by the same authors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/option.h"
#include "core/problems.h"
#include "optim/optimizer_groups.h"

namespace pixelbert::optim {

struct OptimConfig {
  Algorithm backbone_algorithm = Algorithm::Sgd;
  double backbone_rate = 1e-2;             // paper, section 4.1
  double backbone_momentum = 0.9;          // SOHO
  double backbone_weight_decay = 5e-4;     // paper, section 4.1
  double transformer_rate = 1e-4;          // paper, section 4.1
  double transformer_weight_decay = 1e-2;  // paper, section 4.1
  bool decay_vectors = false;              // BERT's rule; SOHO decays everything
  double beta1 = 0.9;                      // this and the next two: SOHO
  double beta2 = 0.999;
  double eps = 1e-6;
  std::int64_t warmup_steps = 1000;  // SOHO, from a third of the rate
  double warmup_factor = 1.0 / 3;
  std::vector<double> drop_epochs = {25, 35};  // paper, section 4.1
  double drop_factor = 0.1;
  double clip_norm = 10;  // SOHO
};

template <class Field>
void describe(OptimConfig& config, Field&& field) {
  field("optim.backbone-algorithm", config.backbone_algorithm, "sgd or adamw, for the CNN; the rest is AdamW");
  field("optim.backbone-rate", config.backbone_rate, "learning rate of the CNN");
  field("optim.backbone-momentum", config.backbone_momentum, "momentum of the CNN's SGD");
  field("optim.backbone-weight-decay", config.backbone_weight_decay, "weight decay of the CNN");
  field("optim.transformer-rate", config.transformer_rate, "learning rate of everything but the CNN");
  field("optim.transformer-weight-decay", config.transformer_weight_decay, "weight decay of everything but the CNN");
  field("optim.decay-vectors", config.decay_vectors, "decay biases and normalisation weights too");
  field("optim.beta1", config.beta1, "AdamW: decay of the mean gradient");
  field("optim.beta2", config.beta2, "AdamW: decay of the mean squared gradient");
  field("optim.eps", config.eps, "AdamW: added to the root of the square");
  field("optim.warmup-steps", config.warmup_steps, "steps in which the rates grow linearly to their full value");
  field("optim.warmup-factor", config.warmup_factor, "share of the full rate at the first step of the warm-up");
  field("optim.drop-epochs", config.drop_epochs, "the rates drop when this many epochs are done, such as 25,35.5");
  field("optim.drop-factor", config.drop_factor, "what each drop multiplies the rates by");
  field("optim.clip-norm", config.clip_norm, "gradients are scaled down to this norm over all weights; 0: never");
}

// Adds a problem, naming the option, for every value that cannot work.
void find_problems(const OptimConfig& config, Problems& problems);

// Makes the groups "backbone" and "transformer"; leaves out a group without parameters (a frozen CNN). Validates.
OptimizerGroups make_optimizer(const OptimConfig& config, NamedParameters backbone, NamedParameters transformer,
                               std::int64_t steps_per_epoch);

}  // namespace pixelbert::optim
