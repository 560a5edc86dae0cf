// A communicator of one rank: there is nothing to reduce or to send.
#pragma once

#include "comm/communicator.h"

namespace pixelbert::comm {

class SoloCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  std::unique_ptr<Work> all_reduce(torch::Tensor tensor, ReduceOp op) override;
  std::unique_ptr<Work> reduce_scatter(const SumTree& tree, std::vector<torch::Tensor> own,
                                       torch::Tensor result) override;
  Range slice(std::int64_t size, int) const override { return {0, size}; }
  std::unique_ptr<Work> all_gather(torch::Tensor tensor) override;
  void broadcast(torch::Tensor, int) override {}
  void send(torch::Tensor, int to) override;
  void receive(torch::Tensor, int from) override;
  void barrier() override {}
};

}  // namespace pixelbert::comm
