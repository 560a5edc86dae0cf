#include "comm/host_sum.h"

#include <algorithm>
#include <new>
#include <string>
#include <thread>

#include "comm/mpi_check.h"
#include "comm/shared_memory.h"
#include "core/running_clock.h"

namespace pixelbert::comm {
namespace {

constexpr std::int64_t kCounterBytes = 64;  // a cache line

// Blocks of constant length and pointers without aliases let the compiler use vector instructions.
constexpr std::int64_t kBlock = 16;

template <class T>
void add(T* __restrict sum, const T* __restrict a, const T* __restrict b, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    for (std::int64_t j = i; j < i + kBlock; ++j) sum[j] = a[j] + b[j];
  }
  for (; i < size; ++i) sum[i] = a[i] + b[i];
}

template <class T>
void add(T* __restrict sum, const T* __restrict a, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    for (std::int64_t j = i; j < i + kBlock; ++j) sum[j] += a[j];
  }
  for (; i < size; ++i) sum[i] += a[i];
}

// Collective. Throws SharedError on all ranks when there is no room.
void check_room(MPI_Comm comm, int rank, int ranks, std::int64_t bytes_per_rank) {
  std::string lack = rank == 0 ? lack_of_shared_memory(ranks, bytes_per_rank) : "";
  auto size = static_cast<int>(lack.size());
  check_mpi(MPI_Bcast(&size, 1, MPI_INT, 0, comm));
  lack.resize(static_cast<std::size_t>(size));
  check_mpi(MPI_Bcast(lack.data(), size, MPI_CHAR, 0, comm));
  if (!lack.empty()) throw SharedError(lack);
}

}  // namespace

HostSum::HostSum(MPI_Comm comm, std::int64_t piece_bytes, std::chrono::milliseconds timeout)
    : piece_bytes_(std::max<std::int64_t>(piece_bytes / kCounterBytes, 1) * kCounterBytes), timeout_(timeout) {
  check_mpi(MPI_Comm_rank(comm, &rank_));
  check_mpi(MPI_Comm_size(comm, &ranks_));

  const std::int64_t own_bytes = kCounterBytes + 2 * piece_bytes_;
  check_room(comm, rank_, ranks_, own_bytes);
  MPI_Info info = MPI_INFO_NULL;
  check_mpi(MPI_Info_create(&info));
  check_mpi(MPI_Info_set(info, "alloc_shared_noncontig", "true"));  // gives whole pages, near the rank that fills them
  void* own = nullptr;
  MPI_Win window = MPI_WIN_NULL;
  check_mpi(MPI_Win_allocate_shared(own_bytes, 1, info, comm, &own, &window));
  check_mpi(MPI_Info_free(&info));
  new (own) std::atomic<std::uint64_t>(0);
  check_mpi(MPI_Barrier(comm));
  for (int rank = 0; rank < ranks_; ++rank) {
    MPI_Aint bytes = 0;
    int unit = 0;
    std::byte* base = nullptr;
    check_mpi(MPI_Win_shared_query(window, rank, &bytes, &unit, &base));
    arrived_.push_back(std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(base)));
    pieces_.push_back(base + kCounterBytes);
  }
}

void HostSum::operator()(const torch::Tensor& tensor) {
  if (tensor.scalar_type() == torch::kFloat32) return sum(tensor.data_ptr<float>(), tensor.numel());
  sum(tensor.data_ptr<double>(), tensor.numel());
}

// Every rank sums its own slice of a piece. When a rank writes the piece of this turn, all ranks have read the one of
// two turns ago: they have met since.
template <class T>
void HostSum::sum(T* data, std::int64_t size) {
  const std::int64_t piece = piece_bytes_ / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t begin = 0; begin < size; begin += piece) {
    T* const tensor = data + begin;
    const std::int64_t count = std::min(piece, size - begin);
    const auto slice = [&](int rank) { return count * rank / ranks_; };
    const auto shared = [&](int rank) { return reinterpret_cast<T*>(pieces_[rank] + turn_ * piece_bytes_); };
    T* const mine = shared(rank_);
    const std::int64_t first = slice(rank_), end = slice(rank_ + 1);

    std::copy(tensor, tensor + first, mine);
    std::copy(tensor + end, tensor + count, mine + end);
    meet();
    const auto source = [&](int rank) { return rank == rank_ ? tensor + first : shared(rank) + first; };
    add(mine + first, source(0), source(1), end - first);
    for (int rank = 2; rank < ranks_; ++rank) add(mine + first, source(rank), end - first);
    meet();
    for (int rank = 0; rank < ranks_; ++rank) {
      std::copy(shared(rank) + slice(rank), shared(rank) + slice(rank + 1), tensor + slice(rank));
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
      PB_CHECK(RunningClock::now() < deadline, "sum on one host: rank {} left in the middle", rank);
      std::this_thread::yield();
    }
  }
}

}  // namespace pixelbert::comm
