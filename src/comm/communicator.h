// Moves tensors between the ranks of one job. Every rank makes the same calls in the same order; a rank that leaves one
// out leaves the others waiting.
#pragma once

#include <torch/types.h>

#include <memory>

namespace pixelbert::comm {

enum class ReduceOp { Sum, Min, Max };

// A collective that has been started.
class Work {
 public:
  virtual ~Work() = default;

  // After this the caller may use the tensor: for CUDA tensors the current stream is made to wait and the host goes on;
  // for CPU tensors the host waits. A collective that failed throws Error here or in a later call.
  virtual void wait() = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;

  // In place. The tensor has no gaps (channels_last is fine, as long as the ranks agree) and stays untouched until
  // wait(). Every rank gets the same bits.
  [[nodiscard]] virtual std::unique_ptr<Work> all_reduce(torch::Tensor tensor, ReduceOp op) = 0;

  // Rank `root`'s content into everyone's tensor of that size and type.
  virtual void broadcast(torch::Tensor tensor, int root) = 0;

  // Returns once every rank has called it and its earlier collectives have ended; throws if one of them failed.
  virtual void barrier() = 0;
};

}  // namespace pixelbert::comm
