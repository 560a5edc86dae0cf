#include "optim/optimizer_groups.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "core/check.h"

namespace pixelbert::optim {
namespace {

// The fused operators walk weight, gradient and state in memory order, so all must have the same strides.
std::vector<torch::Tensor> gradients_of(const std::vector<torch::Tensor>& parameters,
                                        const std::vector<std::string>& names) {
  std::vector<torch::Tensor> gradients;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const torch::Tensor& gradient = parameters[i].grad();
    PB_CHECK(gradient.defined(), "'{}' has no gradient", names[i]);
    PB_CHECK(gradient.strides() == parameters[i].strides(),
             "the gradient of '{}' has strides [{}], its weight [{}]: change the memory order before the optimizer and "
             "the gradients are made",
             names[i], fmt::join(gradient.strides(), ", "), fmt::join(parameters[i].strides(), ", "));
    gradients.push_back(gradient);
  }
  return gradients;
}

}  // namespace

OptimizerGroups::OptimizerGroups(std::vector<Group> groups, double clip_norm)
    : groups_(std::move(groups)), clip_norm_(clip_norm) {
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    for (const bool vectors : {false, true}) {
      Part part = make_part(group, vectors);
      if (!part.parameters.empty()) parts_.push_back(std::move(part));
    }
  }
}

OptimizerGroups::Part OptimizerGroups::make_part(std::size_t index, bool vectors) const {
  const Group& group = groups_[index];
  Part part;
  part.group = index;
  part.weight_decay = !vectors || group.decay_vectors ? group.weight_decay : 0;
  for (const auto& [name, parameter, is_vector] : group.parameters) {
    if (is_vector != vectors || parameter.numel() == 0) continue;
    PB_CHECK(parameter.is_non_overlapping_and_dense(), "'{}' has gaps in memory: strides [{}]", name,
             fmt::join(parameter.strides(), ", "));
    part.names.push_back(name);
    part.parameters.push_back(parameter);
    // SGD's momentum starts at 0, so that the first one is the gradient itself. Without momentum the fused operator
    // insists on no state.
    const bool sgd = group.algorithm == Algorithm::Sgd;
    if (!sgd || group.momentum != 0) part.first.push_back(at::zeros_like(parameter.detach()));
    if (sgd) continue;
    part.second.push_back(at::zeros_like(parameter.detach()));
    part.steps.push_back(at::zeros(at::IntArrayRef{}, parameter.options().dtype(at::kFloat).requires_grad(false)));
  }
  return part;
}

void OptimizerGroups::step(std::int64_t step, const torch::Tensor& gradient_norm) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor finite = gradient_norm.isfinite();
  // The fused operators can divide gradients by the scale of mixed precision; here that does the clipping. They write
  // the gradients back, which is left out where the host knows that nothing is clipped.
  std::optional<torch::Tensor> divisor;
  if (clip_norm_ > 0 && !(gradient_norm.is_cpu() && gradient_norm.item<double>() <= clip_norm_)) {
    divisor = (gradient_norm / clip_norm_).clamp(1, std::numeric_limits<float>::max()).to(at::kFloat);
  }
  const torch::Tensor leave_out = finite.logical_not().to(at::kFloat);  // what they call found_inf
  for (Part& part : parts_) {
    const Group& group = groups_[part.group];
    const std::vector<torch::Tensor> gradients = gradients_of(part.parameters, part.names);
    const double rate = learning_rate(group.schedule, step);
    if (group.algorithm == Algorithm::Sgd) {
      at::_fused_sgd_(part.parameters, gradients, part.first, part.weight_decay, group.momentum, rate,
                      /*dampening=*/0, /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false, divisor,
                      leave_out);
    } else {
      at::_foreach_add_(part.steps, finite.to(at::kFloat));
      at::_fused_adamw_(part.parameters, gradients, part.first, part.second, {}, part.steps, rate, group.beta1,
                        group.beta2, part.weight_decay, group.eps, /*amsgrad=*/false, /*maximize=*/false, divisor,
                        leave_out);
    }
  }
}

std::map<std::string, double> OptimizerGroups::learning_rates(std::int64_t step) const {
  std::map<std::string, double> rates;
  for (const Group& group : groups_) rates[group.name] = learning_rate(group.schedule, step);
  return rates;
}

std::vector<std::string> OptimizerGroups::state_suffixes(const std::string& parameter) const {
  for (const Group& group : groups_) {
    if (std::ranges::find(group.parameters, parameter, &Parameter::name) == group.parameters.end()) continue;
    if (group.algorithm == Algorithm::AdamW) return {".exp_avg", ".exp_avg_sq", ".step"};
    if (group.momentum != 0) return {".momentum"};
  }
  return {};
}

std::map<std::string, torch::Tensor> OptimizerGroups::named_state() const {
  std::map<std::string, torch::Tensor> state;
  for (const Part& part : parts_) {
    const bool sgd = groups_[part.group].algorithm == Algorithm::Sgd;
    for (std::size_t i = 0; i < part.names.size(); ++i) {
      if (!part.first.empty()) state[part.names[i] + (sgd ? ".momentum" : ".exp_avg")] = part.first[i];
      if (sgd) continue;
      state[part.names[i] + ".exp_avg_sq"] = part.second[i];
      state[part.names[i] + ".step"] = part.steps[i];
    }
  }
  return state;
}

}  // namespace pixelbert::optim
