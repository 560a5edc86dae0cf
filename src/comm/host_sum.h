// Sums over the ranks of one host through shared memory: each element is added once, in rank order, and every tensor is
// read and written once. MPI copies several times as much, through the kernel, and takes twice as long.
#pragma once

#include <mpi.h>
#include <torch/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pixelbert::comm {

class HostSum {
 public:
  // Collective over `comm`, whose ranks are all on one host. Sums a tensor in pieces of at most `piece_bytes` (at least
  // one element), which should fit into a core's cache. Waits at most `timeout` for another rank. Never frees the
  // shared memory: that would be collective.
  HostSum(MPI_Comm comm, std::int64_t piece_bytes, std::chrono::milliseconds timeout);

  static bool takes(torch::ScalarType type) { return type == torch::kFloat32 || type == torch::kFloat64; }

  // Collective. Works in place.
  void operator()(const torch::Tensor& tensor);

 private:
  template <class T>
  void sum(T* data, std::int64_t size);
  void meet();

  int rank_ = 0;
  int ranks_ = 1;
  std::int64_t piece_bytes_;
  std::chrono::milliseconds timeout_;
  std::uint64_t meetings_ = 0;
  // One per rank: how often it has met the others, and two pieces, so that one is filled while the other is read.
  std::vector<std::atomic<std::uint64_t>*> arrived_;
  std::vector<std::byte*> pieces_;
  int turn_ = 0;
};

}  // namespace pixelbert::comm
