// Moves tensors between the ranks of one job. Every rank makes the same calls in the same order; if a rank leaves one
// out, the others wait.
#pragma once

#include <torch/types.h>

#include <memory>

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
  // until wait(). Every rank gets the same bits.
  [[nodiscard]] virtual std::unique_ptr<Work> all_reduce(torch::Tensor tensor, ReduceOp op) = 0;

  // Copies rank `root`'s content to all ranks, whose tensors have the same size and type.
  virtual void broadcast(torch::Tensor tensor, int root) = 0;

  // Returns once every rank has called it and its earlier collectives have ended; throws if one of them failed.
  virtual void barrier() = 0;
};

}  // namespace pixelbert::comm
