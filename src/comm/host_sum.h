// Adds along the tree among the ranks of one host, through shared memory: every value is read and written once. MPI
// copies several times as much, through the kernel, and takes twice as long.
#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/group_sum.h"

namespace pixelbert::comm {

class HostSum final : public GroupSum {
 public:
  // Collective over `world`. `host` holds the ranks of this host, which share `piece_bytes` each, twice: these should
  // fit into a core's cache. Waits at most `timeout` for another rank. Throws SharedError if a host has no room. Never
  // frees the shared memory: that would be collective.
  HostSum(MPI_Comm host, MPI_Comm world, std::int64_t piece_bytes, std::chrono::milliseconds timeout);

  void reduce_scatter(const GroupNodes& nodes, const std::vector<torch::Tensor>& own, const std::vector<Range>& parts,
                      const std::vector<torch::Tensor>& sums) override;
  void all_gather(const torch::Tensor& tensor, const std::vector<Range>& parts) override;

 private:
  template <class T>
  void add_up(const GroupNodes& nodes, const std::vector<T*>& own, const std::vector<Range>& parts,
              const std::vector<T*>& sums);
  void meet();

  int rank_ = 0;
  int ranks_ = 1;
  std::int64_t piece_bytes_ = 0;
  std::chrono::milliseconds timeout_;
  std::vector<int> world_ranks_;  // of the job, for messages
  std::uint64_t meetings_ = 0;
  // One per rank: how often it has met the others, and two pieces, so that one is filled while the other is read.
  std::vector<std::atomic<std::uint64_t>*> arrived_;
  std::vector<std::byte*> pieces_;
  int turn_ = 0;
};

}  // namespace pixelbert::comm
