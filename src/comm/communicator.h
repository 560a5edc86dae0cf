// Moves tensors between the ranks of one job. Every rank makes the same calls in the same order; if a rank leaves one
// out, the others wait.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/rank_layout.h"
#include "comm/sum_tree.h"

namespace pixelbert::comm {

enum class ReduceOp { Sum, Min, Max };

// A collective that has been started.
class Work {
 public:
  virtual ~Work() = default;

  // After this the caller may use the tensor: for CUDA tensors the current stream waits and the host goes on; for CPU
  // tensors the host waits. A collective that failed throws Error here or in a later call.
  virtual void wait() = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // Works in place. The tensor must have no gaps (channels_last is fine if all ranks use it), and must not be touched
  // until wait(). Every rank gets the same bits, but the order of a sum is not fixed. So use it for whole numbers, or
  // where one rank has the number and the others add zero.
  [[nodiscard]] virtual std::unique_ptr<Work> all_reduce(torch::Tensor tensor, ReduceOp op) = 0;

  // Adds the leaves of all ranks along the tree (comm/sum_tree.h): the result has the same bits at any number of ranks.
  // `own` has a value for each of tree.nodes(rank()) and is overwritten; `result` may be one of them. All are float32
  // or float64 of one dimension and size. Afterwards `result` holds this rank's slice of the sum, and all_gather()
  // completes it. No tensor may be touched until wait().
  [[nodiscard]] virtual std::unique_ptr<Work> reduce_scatter(const SumTree& tree, std::vector<torch::Tensor> own,
                                                             torch::Tensor result) = 0;

  // The slice of a tensor of this size that reduce_scatter() leaves on `rank`. It begins at a multiple of kCell.
  virtual Range slice(std::int64_t size, int rank) const = 0;

  // Gives every rank the slices of the others.
  [[nodiscard]] virtual std::unique_ptr<Work> all_gather(torch::Tensor tensor) = 0;

  // Copies rank `root`'s content to all ranks, whose tensors have the same size and type.
  virtual void broadcast(torch::Tensor tensor, int root) = 0;

  // Moves the sender's content to the receiver, whose tensor has the same size and type. Only these two ranks call it;
  // every pair makes its calls in the same order.
  virtual void send(torch::Tensor tensor, int to) = 0;
  virtual void receive(torch::Tensor tensor, int from) = 0;

  // Returns once every rank has called it and its earlier collectives have ended; throws if one of them failed.
  virtual void barrier() = 0;

  // Call after the results of collectives have come to the host, and before anything that was made of them is saved or
  // reported. Throws Error if one failed: on a GPU, wait() cannot know.
  virtual void check() {}
};

// Collective. Adds the leaves that each rank has, in their order, along the tree; leaves the sum in `result` on every
// rank. The leaves are overwritten.
void sum_leaves(const SumTree& tree, std::vector<torch::Tensor> own, const torch::Tensor& result,
                Communicator& communicator);

}  // namespace pixelbert::comm
