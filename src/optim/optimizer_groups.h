// SGD for the CNN, AdamW for the rest: two algorithms behind one step, on LibTorch's fused operators.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "optim/schedule.h"

namespace pixelbert::optim {

enum class Algorithm { Sgd, AdamW };
constexpr auto names(Algorithm) {
  return std::to_array<std::string_view>({"sgd", "adamw"});
}

// A parameter or the elements of it that this rank updates (comm/gradient_reducer.h); perhaps none, then the optimizer
// only knows the names of its state. The name is that in model.safetensors, and names the state too.
struct Parameter {
  Parameter(std::string name, torch::Tensor values)
      : name(std::move(name)), values(std::move(values)), is_vector(this->values.dim() <= 1) {}
  Parameter(std::string name, torch::Tensor values, bool is_vector)
      : name(std::move(name)), values(std::move(values)), is_vector(is_vector) {}

  std::string name;
  torch::Tensor values;
  bool is_vector;  // a bias or a normalisation weight
};
using NamedParameters = std::vector<Parameter>;

struct Group {
  std::string name;  // "backbone", "transformer": also the label of its metrics
  NamedParameters parameters;
  Algorithm algorithm = Algorithm::AdamW;
  Schedule schedule;
  double weight_decay = 0;
  bool decay_vectors = false;                     // also biases and normalisation weights
  double momentum = 0.9;                          // SGD
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-6;  // AdamW
};

class OptimizerGroups {
 public:
  // `clip_norm` over all groups together; 0 turns clipping off. From here on weights must keep their device and memory
  // order, and gradients must have the same.
  OptimizerGroups(std::vector<Group> groups, double clip_norm);

  // Scales the gradients (in place) so that their norm is at most the clip norm, sets each learning rate, updates.
  // Changes nothing if the norm is not finite. `step` 0 is the first of the training. `gradient_norm`, float64 [] on
  // the device of the parameters, is that of all ranks' gradients together: the same on each. The host does not wait
  // for it.
  void step(std::int64_t step, const torch::Tensor& gradient_norm);

  std::map<std::string, double> learning_rates(std::int64_t step) const;  // by group

  // "<parameter>.momentum" (SGD with momentum); "<parameter>.exp_avg", ".exp_avg_sq", ".step" (AdamW). They share
  // storage: read them to save, copy into them to restore.
  std::map<std::string, torch::Tensor> named_state() const;

  // The names of the state of a parameter, also where this rank has none of its elements: ".momentum".
  std::vector<std::string> state_suffixes(const std::string& parameter) const;

 private:
  // The decayed parameters of a group, or the others, with their state.
  struct Part {
    std::size_t group = 0;
    double weight_decay = 0;
    std::vector<std::string> names;
    std::vector<torch::Tensor> parameters;
    std::vector<torch::Tensor> first;   // momentum, none when that is 0 | exp_avg
    std::vector<torch::Tensor> second;  // AdamW: exp_avg_sq
    std::vector<torch::Tensor> steps;   // AdamW: updates so far, one float each
  };
  Part make_part(std::size_t group, bool vectors) const;

  std::vector<Group> groups_;
  double clip_norm_;
  std::vector<Part> parts_;
};

}  // namespace pixelbert::optim
