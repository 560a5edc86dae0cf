#include "comm/solo_communicator.h"

#include "core/check.h"

namespace pixelbert::comm {
namespace {

struct NothingToWaitFor final : Work {
  void wait() override {}
};

}  // namespace

std::unique_ptr<Work> SoloCommunicator::all_reduce(torch::Tensor, ReduceOp) {
  return std::make_unique<NothingToWaitFor>();
}

std::unique_ptr<Work> SoloCommunicator::reduce_scatter(const SumTree&, std::vector<torch::Tensor> own,
                                                       torch::Tensor result) {
  if (!own.at(0).is_same(result)) result.copy_(own[0]);  // one rank adds up the whole tree
  return std::make_unique<NothingToWaitFor>();
}

std::unique_ptr<Work> SoloCommunicator::all_gather(torch::Tensor) {
  return std::make_unique<NothingToWaitFor>();
}

void SoloCommunicator::send(torch::Tensor, int to) {
  fail(fmt::format("send: expected another rank, found rank {} in a job of one", to));
}

void SoloCommunicator::receive(torch::Tensor, int from) {
  fail(fmt::format("receive: expected another rank, found rank {} in a job of one", from));
}

}  // namespace pixelbert::comm
