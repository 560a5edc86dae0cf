// CPU tensors over MPI: the gradients of a CPU job, and the small messages of every job. Sums along the tree use shared
// memory within a host (comm/host_sum.h), and messages between hosts.
//
// One thread per communicator makes blocking MPI calls in the order of the requests. MPI's own non-blocking collectives
// progress only inside other MPI calls: they hardly overlap with backward and take two to four times as long.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi_session.h"

namespace pixelbert::comm {

class MpiCommunicator final : public Communicator {
 public:
  // MPI sums 16 pieces of 25 MB faster than 400 MB in one call: its own buffers stay small and in the cache.
  static constexpr std::int64_t kPieceBytes = 25 << 20;
  static constexpr std::chrono::milliseconds kPatience = std::chrono::minutes(30);
  static constexpr std::int64_t kHostPieceBytes = 1 << 20;  // comm/host_sum.h: fits into a core's cache

  // Collective over all ranks of the session, which must outlive the communicator. all_reduce sends at most
  // `piece_bytes` (at least one element) in one MPI call, and shared memory holds no larger pieces. A rank that waits
  // longer than `timeout` for another one to come to a call, or for a message of it, treats it as lost and throws: MPI
  // itself would wait forever for a host that no longer responds. Only within the MPI_Allreduce or MPI_Bcast that
  // follow when all have come does MPI wait alone.
  explicit MpiCommunicator(const MpiSession& session, std::int64_t piece_bytes = kPieceBytes,
                           std::chrono::milliseconds timeout = kPatience);

  // Does not wait for other ranks. Unfinished work means that an error is unwinding and that other ranks may never
  // answer: the thread is then left running until MpiSession::abort ends it.
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }

  // float32, float64, int64, int32 or uint8.
  std::unique_ptr<Work> all_reduce(torch::Tensor tensor, ReduceOp op) override;
  std::unique_ptr<Work> reduce_scatter(const SumTree& tree, std::vector<torch::Tensor> own,
                                       torch::Tensor result) override;
  Range slice(std::int64_t size, int rank) const override;
  std::unique_ptr<Work> all_gather(torch::Tensor tensor) override;
  void broadcast(torch::Tensor tensor, int root) override;  // any type
  void send(torch::Tensor tensor, int to) override;
  void receive(torch::Tensor tensor, int from) override;
  void barrier() override;

 private:
  struct Queue;
  static void serve(const std::stop_token& stop, Queue& queue);
  std::unique_ptr<Work> enqueue(std::function<void()> collective);

  int rank_;
  int world_size_;
  std::int64_t piece_bytes_;
  std::chrono::milliseconds timeout_;
  std::shared_ptr<Queue> queue_;  // shared with the thread, which may live longer
  std::jthread thread_;
};

}  // namespace pixelbert::comm
