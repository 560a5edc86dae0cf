#include "comm/solo_communicator.h"

namespace pixelbert::comm {
namespace {

struct NothingToWaitFor final : Work {
  void wait() override {}
};

}  // namespace

std::unique_ptr<Work> SoloCommunicator::all_reduce(torch::Tensor, ReduceOp) {
  return std::make_unique<NothingToWaitFor>();
}

}  // namespace pixelbert::comm
