#include "comm/host_sum.h"

#include <algorithm>
#include <new>
#include <numeric>
#include <string>
#include <thread>

#include "comm/mpi_check.h"
#include "comm/shared_memory.h"
#include "core/running_clock.h"

namespace pixelbert::comm {
namespace {

constexpr std::int64_t kCounterBytes = 64;  // a cache line
constexpr std::int64_t kLine = 16;          // numbers that begin on a cache line together

// `sum` may be `a` or `b`. The pragma says that no element depends on another one's sum, so that the loop is
// vectorised.
template <class T>
void add(T* sum, const T* a, const T* b, std::int64_t size) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < size; ++i) sum[i] = a[i] + b[i];
}

// Collective over `world`. Throws SharedError on all ranks when one host has no room.
void check_room(MPI_Comm world, const std::string& lack) {
  int rank = 0, ranks = 1;
  check_mpi(MPI_Comm_rank(world, &rank));
  check_mpi(MPI_Comm_size(world, &ranks));
  int first = lack.empty() ? ranks : rank;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, world));
  if (first == ranks) return;
  std::string reason = lack;
  auto size = static_cast<int>(reason.size());
  check_mpi(MPI_Bcast(&size, 1, MPI_INT, first, world));
  reason.resize(static_cast<std::size_t>(size));
  check_mpi(MPI_Bcast(reason.data(), size, MPI_CHAR, first, world));
  throw SharedError(reason);
}

// The part of a range that is `width` wide and begins `begin` after its begin; cut off at its end.
Range window(Range range, std::int64_t begin, std::int64_t width) {
  return {.begin = std::min(range.begin + begin, range.end), .end = std::min(range.begin + begin + width, range.end)};
}

std::int64_t longest(const std::vector<Range>& parts) {
  std::int64_t longest = 0;
  for (const Range part : parts) longest = std::max(longest, part.size());
  return longest;
}

template <class T>
std::vector<T*> pointers(const std::vector<torch::Tensor>& tensors) {
  std::vector<T*> data;
  for (const torch::Tensor& tensor : tensors) data.push_back(tensor.data_ptr<T>());
  return data;
}

}  // namespace

HostSum::HostSum(MPI_Comm host, MPI_Comm world, std::int64_t piece_bytes, std::chrono::milliseconds timeout)
    : timeout_(timeout) {
  check_mpi(MPI_Comm_rank(host, &rank_));
  check_mpi(MPI_Comm_size(host, &ranks_));
  std::vector<int> places(static_cast<std::size_t>(ranks_));
  std::iota(places.begin(), places.end(), 0);
  world_ranks_.resize(places.size());
  MPI_Group here = MPI_GROUP_NULL, all = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(host, &here));
  check_mpi(MPI_Comm_group(world, &all));
  check_mpi(MPI_Group_translate_ranks(here, ranks_, places.data(), all, world_ranks_.data()));
  check_mpi(MPI_Group_free(&here));
  check_mpi(MPI_Group_free(&all));
  // A piece has room for one number of each node and rank, at least: a rank has at most two nodes of each of 63 levels.
  constexpr std::int64_t kLeast = 2 * 64 * sizeof(double);
  piece_bytes_ = std::max(piece_bytes / kCounterBytes * kCounterBytes, ranks_ * kLeast);

  const std::int64_t own_bytes = kCounterBytes + 2 * piece_bytes_;
  check_room(world, rank_ == 0 ? lack_of_shared_memory(ranks_, own_bytes) : "");
  MPI_Info info = MPI_INFO_NULL;
  check_mpi(MPI_Info_create(&info));
  check_mpi(MPI_Info_set(info, "alloc_shared_noncontig", "true"));  // gives whole pages, near the rank that fills them
  void* own = nullptr;
  MPI_Win shared = MPI_WIN_NULL;
  check_mpi(MPI_Win_allocate_shared(own_bytes, 1, info, host, &own, &shared));
  check_mpi(MPI_Info_free(&info));
  new (own) std::atomic<std::uint64_t>(0);
  check_mpi(MPI_Barrier(host));
  for (int rank = 0; rank < ranks_; ++rank) {
    MPI_Aint bytes = 0;
    int unit = 0;
    std::byte* base = nullptr;
    check_mpi(MPI_Win_shared_query(shared, rank, &bytes, &unit, &base));
    arrived_.push_back(std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(base)));
    pieces_.push_back(base + kCounterBytes);
  }
}

void HostSum::reduce_scatter(const GroupNodes& nodes, const std::vector<torch::Tensor>& own,
                             const std::vector<Range>& parts, const std::vector<torch::Tensor>& sums) {
  if (sums.empty()) return;  // nobody on this host has a value
  if (sums[0].scalar_type() == torch::kFloat32) {
    add_up(nodes, pointers<float>(own), parts, pointers<float>(sums));
  } else {
    add_up(nodes, pointers<double>(own), parts, pointers<double>(sums));
  }
}

// In each round every rank writes a window of the others' parts, for them to read, and adds up a window of its own
// part. When a rank writes the piece of this turn, all have read the one of two turns ago: they have met since.
template <class T>
void HostSum::add_up(const GroupNodes& nodes, const std::vector<T*>& own, const std::vector<Range>& parts,
                     const std::vector<T*>& sums) {
  const auto places = static_cast<std::int64_t>(nodes.most_of_a_member()) * ranks_;
  std::int64_t width = piece_bytes_ / static_cast<std::int64_t>(sizeof(T)) / places;
  if (width > kLine) width = width / kLine * kLine;

  for (std::int64_t begin = 0; begin < longest(parts); begin += width) {
    // Where `from` puts its values for rank `to`.
    const auto place = [&](int from, int to, std::size_t node) {
      T* const piece = reinterpret_cast<T*>(pieces_[from] + turn_ * piece_bytes_);
      return piece + (static_cast<std::int64_t>(node) * ranks_ + to) * width;
    };
    for (int rank = 0; rank < ranks_; ++rank) {
      if (rank == rank_) continue;
      const Range theirs = window(parts[rank], begin, width);
      for (std::size_t node = 0; node < own.size(); ++node) {
        std::copy(own[node] + theirs.begin, own[node] + theirs.end, place(rank_, rank, node));
      }
    }
    meet();

    const Range mine = window(parts[rank_], begin, width);
    std::vector<T*> values;
    for (int rank = 0; rank < ranks_; ++rank) {
      for (std::size_t node = 0; node < nodes.of_member[rank].size(); ++node) {
        values.push_back(rank == rank_ ? own[node] + mine.begin : place(rank, rank_, node));
      }
    }
    for (const auto& [into, from, completes] : nodes.merged.additions) {
      add(completes ? sums[*completes] + begin : values[into], values[into], values[from], mine.size());
    }
    for (const auto& [position, node] : nodes.merged.unchanged) {
      if (sums[node] + begin != values[position]) std::copy_n(values[position], mine.size(), sums[node] + begin);
    }
    turn_ = 1 - turn_;
  }
}

void HostSum::all_gather(const torch::Tensor& tensor, const std::vector<Range>& parts) {
  const auto item = static_cast<std::int64_t>(tensor.element_size());
  auto* const data = static_cast<std::byte*>(tensor.data_ptr());
  const std::int64_t width = piece_bytes_ / item;
  for (std::int64_t begin = 0; begin < longest(parts); begin += width) {
    const auto bytes = [&](int rank) {
      const Range elements = window(parts[rank], begin, width);
      return Range{.begin = elements.begin * item, .end = elements.end * item};
    };
    const auto shared = [&](int rank) { return pieces_[rank] + turn_ * piece_bytes_; };
    std::copy(data + bytes(rank_).begin, data + bytes(rank_).end, shared(rank_));
    meet();
    for (int rank = 0; rank < ranks_; ++rank) {
      if (rank != rank_) std::copy_n(shared(rank), bytes(rank).size(), data + bytes(rank).begin);
    }
    turn_ = 1 - turn_;
  }
}

void HostSum::meet() {
  ++meetings_;
  arrived_[rank_]->store(meetings_, std::memory_order_release);
  const auto deadline = RunningClock::now() + timeout_;
  for (std::size_t rank = 0; rank < arrived_.size(); ++rank) {
    for (int polls = 0; arrived_[rank]->load(std::memory_order_acquire) < meetings_; ++polls) {
      if (polls < 1000) continue;
      PB_CHECK(RunningClock::now() < deadline, "sum on one host: rank {} left in the middle", world_ranks_[rank]);
      std::this_thread::yield();
    }
  }
}

}  // namespace pixelbert::comm
