// Which ranks share a host, and the two groups in which a rank adds: the ranks of its host, and one rank of each host.
#pragma once

#include <cstdint>
#include <vector>

namespace pixelbert::comm {

// Some ranks in ascending order; `me` is this rank's place among them.
struct Group {
  std::vector<int> ranks;
  int me = 0;
  int size() const { return static_cast<int>(ranks.size()); }
};

// Elements [begin, end) of a tensor of one dimension.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

// `host_of_rank` has the same number for ranks that share a host. Where hosts have different numbers of ranks, each
// rank counts as a host of its own.
struct RankLayout {
  RankLayout(const std::vector<int>& host_of_rank, int rank);

  std::vector<std::vector<int>> hosts;  // the ranks of each
  Group in_host;                        // the ranks of this rank's host
  Group across;                         // the ranks with this rank's place on their host, host by host

  // The elements of a tensor of this size that a rank adds up: a part of its part within the host.
  Range slice(std::int64_t size, int rank) const;
};

// What is computed from this many elements at a multiple of their number (the square of a gradient's norm) is computed
// by one rank, so that it has the same bits at any number of ranks. It also keeps vector loads aligned.
constexpr std::int64_t kCell = 1024;

// Cuts a range into nearly equal parts that begin at multiples of kCell elements from its begin. Later parts may be
// empty.
std::vector<Range> cut(Range whole, int parts);

}  // namespace pixelbert::comm
