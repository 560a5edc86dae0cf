// The optimizer's state as checkpoints hold it: whole tensors on rank 0, while each rank has the elements of its pieces
// (comm/gradient_reducer.h). Checkpoints therefore do not depend on the number of ranks.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "comm/communicator.h"
#include "comm/gradient_reducer.h"
#include "optim/optimizer_groups.h"
#include "train/save_plan.h"

namespace pixelbert::train {

// The parameters of a reducer that this rank updates; those that other ranks update have no elements.
// `names` and `parameters` are those of the reducer, in its order.
optim::NamedParameters own_pieces(const std::vector<std::string>& names, const std::vector<torch::Tensor>& parameters,
                                  const comm::GradientReducer& reducer);

class OptimizerState {
 public:
  // The communicator, which carries tensors of the model's device, must outlive the state; the names and parameters are
  // those of the reducer, the optimizer that of its pieces.
  OptimizerState(const std::vector<std::string>& names, const std::vector<torch::Tensor>& parameters,
                 const comm::GradientReducer& reducer, const optim::OptimizerGroups& optimizer,
                 comm::Communicator& tensors);

  // The whole state by name, and which elements of it each rank has.
  const HeldTensors& tensors() const { return tensors_; }

  // Collective. Gives every rank its elements of the whole state; only rank 0's `saved` counts. Throws Error on
  // rank 0, naming the tensor, if one is missing or has another shape.
  void restore(const checkpoint::NamedTensors& saved) const;

 private:
  comm::Communicator& communicator_;
  torch::Device device_;
  HeldTensors tensors_;  // all ranks treat them in this order
};

}  // namespace pixelbert::train
