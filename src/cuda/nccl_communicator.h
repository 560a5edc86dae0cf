// Moves CUDA tensors over NCCL, on a stream of its own, so that backward runs beside it.
#pragma once

#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/group_sum.h"
#include "core/running_clock.h"

namespace pixelbert::cuda {

struct AbortComm {
  void operator()(ncclComm_t comm) const { ncclCommAbort(comm); }
};

// If a rank is lost, a collective does not end, and the host would block when it next reads a result. A watchdog
// therefore aborts the communicator when NCCL reports an error or a collective takes longer than `timeout`; the host
// goes on, and the next call or wait() throws. Results of collectives before such an error may be garbage: check()
// throws then.
class NcclCommunicator final : public comm::Communicator {
 public:
  // Collective. `control` sends the NCCL id from rank 0 to the others, and gives rank and world size. `host_of_rank`
  // has the same number for ranks that share a host. Returns when all ranks that will exchange messages are connected.
  NcclCommunicator(comm::Communicator& control, const std::vector<int>& host_of_rank, int device,
                   std::chrono::seconds timeout);

  // Waits up to five seconds until its collectives have ended and the others have what this rank has sent. Then, or at
  // once if an error unwinds or a collective has failed, aborts what still runs.
  ~NcclCommunicator() override;

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  std::unique_ptr<comm::Work> all_reduce(torch::Tensor tensor, comm::ReduceOp op) override;
  std::unique_ptr<comm::Work> reduce_scatter(const comm::SumTree& tree, std::vector<torch::Tensor> own,
                                             torch::Tensor result) override;
  comm::Range slice(std::int64_t size, int rank) const override { return reduction_.layout().slice(size, rank); }
  std::unique_ptr<comm::Work> all_gather(torch::Tensor tensor) override;
  void broadcast(torch::Tensor tensor, int root) override;
  void send(torch::Tensor tensor, int to) override;
  void receive(torch::Tensor tensor, int from) override;
  void barrier() override;
  void check() override { throw_if_failed(); }

 private:
  using Event = c10::cuda::CUDAEvent;
  struct Running {
    std::shared_ptr<Event> done;
    RunningClock::time_point since;
    const char* verb;
  };
  class StartedWork;

  // Lets `enqueue` put its work on the communicator's stream, which is the current one meanwhile, after what is on the
  // caller's stream so far.
  std::shared_ptr<Event> start(const char* verb, const std::vector<torch::Tensor>& tensors,
                               const std::function<void()>& enqueue);
  void exchange(const std::vector<int>& ranks, const std::vector<comm::PeerSum::Message>& sent,
                const std::vector<comm::PeerSum::Message>& received);
  comm::TreeReduction make_reduction(const std::vector<int>& host_of_rank);
  void connect();

  // Waits until NCCL has put the call that returned `status` on the stream.
  void accept(ncclResult_t status);
  void throw_if_failed();
  bool finalize();
  void watch(const std::stop_token& stop);
  std::string find_failure();
  void give_up(const std::string& reason);

  int rank_;
  int world_size_;
  int device_;
  std::chrono::seconds timeout_;
  c10::cuda::CUDAStream stream_;
  comm::TreeReduction reduction_;
  std::unique_ptr<ncclComm, AbortComm> comm_;  // null after a failure
  std::mutex mutex_;                           // guards comm_ and what follows
  std::deque<Running> running_;
  std::string failure_;
  std::jthread watchdog_;
};

}  // namespace pixelbert::cuda
