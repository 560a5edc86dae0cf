// SGD for the CNN, AdamW for the rest: two algorithms behind one step, on LibTorch's fused operators.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "optim/schedule.h"

namespace pixelbert::optim {

enum class Algorithm { Sgd, AdamW };

struct NamedParameter {
  std::string name;  // as in model.safetensors; names the optimizer's state too
  torch::Tensor tensor;
};

struct Group {
  std::string name;  // "backbone", "transformer": also the label of its metrics
  std::vector<NamedParameter> parameters;
  Algorithm algorithm = Algorithm::AdamW;
  Schedule schedule;
  double weight_decay = 0;
  bool decay_vectors = false;  // also biases and normalisation weights (facts 2.2: SOHO does, the default does not)
  double momentum = 0.9;                    // SGD
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-6;  // AdamW, facts 2.2
};

class OptimizerGroups {
 public:
  // `clip_norm` over all groups together; 0 turns clipping off.
  OptimizerGroups(std::vector<Group> groups, double clip_norm);

  // The norm of all gradients together, which every rank finds equal after the reduction.
  double gradient_norm() const;

  // Clips by `gradient_norm`, sets each learning rate, updates. Gradients are left scaled.
  void step(std::int64_t step, double gradient_norm);

  std::map<std::string, double> learning_rates(std::int64_t step) const;  // by group

  // "<parameter>.momentum" | ".exp_avg" | ".exp_avg_sq" | ".step". Shares storage: reading saves, copying in restores.
  std::map<std::string, torch::Tensor> named_state();

 private:
  struct Part;  // the parameters of a group that share algorithm and decay
  std::vector<Group> groups_;
  double clip_norm_;
  std::vector<Part> parts_;
};

}  // namespace pixelbert::optim
