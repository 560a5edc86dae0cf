// Sums over ranks that share a host, through memory that they share: each element is added once, in rank order, and
// every tensor is read and written once. MPI copies through the kernel and several times as much, and needs twice the
// time.
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
  // Collective over `comm`, whose ranks are all on one host. A tensor goes in pieces of at most `piece_bytes` (at least
  // one element), which should fit into a core's cache. Waits at most `patience` for another rank. The shared memory is
  // never freed: that would be collective.
  HostSum(MPI_Comm comm, std::int64_t piece_bytes, std::chrono::milliseconds patience);

  static bool takes(torch::ScalarType type) { return type == torch::kFloat32 || type == torch::kFloat64; }

  // In place. Collective.
  void operator()(const torch::Tensor& tensor);

 private:
  template <class T>
  void sum(T* data, std::int64_t size);
  void meet();

  int rank_ = 0;
  int ranks_ = 1;
  std::int64_t piece_bytes_;
  std::chrono::milliseconds patience_;
  std::uint64_t meetings_ = 0;
  // One per rank: how often it has met the others, and two pieces, so that one can be filled while the other is read.
  std::vector<std::atomic<std::uint64_t>*> arrived_;
  std::vector<std::byte*> pieces_;
  int turn_ = 0;
};

}  // namespace pixelbert::comm
