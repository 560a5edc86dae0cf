#include "cuda/nccl_communicator.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <exception>
#include <utility>

#include "core/log.h"
#include "core/message.h"
#include "core/running_clock.h"
#include "cuda/nccl_check.h"

namespace pixelbert::cuda {
namespace {

using Clock = RunningClock;

ncclDataType_t nccl_type(const torch::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case torch::kFloat32:
      return ncclFloat32;
    case torch::kFloat64:
      return ncclFloat64;
    case torch::kBFloat16:
      return ncclBfloat16;
    case torch::kInt64:
      return ncclInt64;
    case torch::kInt32:
      return ncclInt32;
    case torch::kUInt8:
      return ncclUint8;
    default:
      fail(fmt::format("all_reduce over NCCL: expected float32, float64, bfloat16, int64, int32 or uint8, found {}",
                       c10::toString(tensor.scalar_type())));
  }
}

ncclRedOp_t nccl_op(comm::ReduceOp op) {
  switch (op) {
    case comm::ReduceOp::Sum:
      return ncclSum;
    case comm::ReduceOp::Min:
      return ncclMin;
    case comm::ReduceOp::Max:
      return ncclMax;
  }
  fail(fmt::format("all_reduce: unknown operation {}", static_cast<int>(op)));
}

// There may be two libraries named libnccl.so.2 (the wheel's and the toolkit's); the loader keeps the first.
void check_version() {
  int loaded = 0;
  check_nccl(ncclGetVersion(&loaded), nullptr);
  PB_CHECK(loaded >= NCCL_VERSION_CODE,
           "NCCL: expected version {} (built with) or newer, found {} loaded: look for an older libnccl.so.2 in "
           "LD_LIBRARY_PATH",
           NCCL_VERSION_CODE, loaded);
}

ncclUniqueId agree_on_id(comm::Communicator& control) {
  ncclUniqueId id;
  if (control.rank() == 0) check_nccl(ncclGetUniqueId(&id), nullptr);
  control.broadcast(torch::from_blob(&id, {sizeof id}, torch::kUInt8), 0);
  return id;
}

}  // namespace

class NcclCommunicator::StartedWork final : public comm::Work {
 public:
  StartedWork(NcclCommunicator& communicator, std::shared_ptr<Event> done)
      : communicator_(communicator), done_(std::move(done)) {}

  void wait() override {
    communicator_.throw_if_failed();
    done_->block(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(communicator_.device_)));
  }

 private:
  NcclCommunicator& communicator_;
  std::shared_ptr<Event> done_;
};

NcclCommunicator::NcclCommunicator(comm::Communicator& control, const std::vector<int>& host_of_rank, int device,
                                   std::chrono::seconds timeout)
    : rank_(control.rank()),
      world_size_(control.world_size()),
      device_(device),
      timeout_(timeout),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, static_cast<c10::DeviceIndex>(device))),
      reduction_(make_reduction(host_of_rank)) {
  check_version();
  const ncclUniqueId id = agree_on_id(control);
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const ncclResult_t status = ncclCommInitRankConfig(&comm, world_size_, id, rank_, &config);
  comm_.reset(comm);
  accept(status);
  watchdog_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  connect();
}

NcclCommunicator::~NcclCommunicator() {
  watchdog_.request_stop();
  watchdog_.join();
  if (std::uncaught_exceptions() == 0 && failure_.empty() && finalize()) ncclCommDestroy(comm_.release());
}

// NCCL connects two ranks at their first messages, and both must have come. In the first backward a rank would wait
// there for one that is late, and look as if it were slow itself.
void NcclCommunicator::connect() {
  const auto options = torch::dtype(torch::kFloat32).device(torch::kCUDA, static_cast<c10::DeviceIndex>(device_));
  all_gather(torch::zeros({world_size_ * comm::kCell}, options))->wait();  // every rank has a part
  barrier();
}

// To abort is no orderly end: NCCL's proxy threads then stop sending what others still wait for. And to destroy without
// an end of patience would wait for ranks that never come.
bool NcclCommunicator::finalize() {
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  const auto in_time = [&](const auto& done) {
    while (!done()) {
      if (Clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  };
  try {
    if (!in_time([&] { return running_.empty() || running_.back().done->query(); })) return false;
    const ncclResult_t begun = ncclCommFinalize(comm_.get());
    if (begun != ncclSuccess && begun != ncclInProgress) return false;
    ncclResult_t status = ncclInProgress;
    return in_time([&] {
      check_nccl(ncclCommGetAsyncError(comm_.get(), &status), comm_.get());
      check_nccl(status, comm_.get());
      return status == ncclSuccess;
    });
  } catch (const std::exception& error) {  // NCCL's or CUDA's
    log::warn("{}", message_of(error));
    return false;
  }
}

comm::TreeReduction NcclCommunicator::make_reduction(const std::vector<int>& host_of_rank) {
  comm::RankLayout layout(host_of_rank, rank_);
  const auto peers = [this](const comm::Group& group) -> std::unique_ptr<comm::GroupSum> {
    if (group.size() == 1) return nullptr;
    return std::make_unique<comm::PeerSum>(
        group.me,
        [this, ranks = group.ranks](const auto& sent, const auto& received) { exchange(ranks, sent, received); });
  };
  auto in_host = peers(layout.in_host), across = peers(layout.across);
  return {std::move(layout), std::move(in_host), std::move(across)};
}

std::unique_ptr<comm::Work> NcclCommunicator::all_reduce(torch::Tensor tensor, comm::ReduceOp op) {
  auto done = start("all_reduce", {tensor}, [&] {
    void* data = tensor.data_ptr();
    accept(ncclAllReduce(data, data, static_cast<std::size_t>(tensor.numel()), nccl_type(tensor), nccl_op(op),
                         comm_.get(), stream_.stream()));
  });
  return std::make_unique<StartedWork>(*this, std::move(done));
}

std::unique_ptr<comm::Work> NcclCommunicator::reduce_scatter(const comm::SumTree& tree, std::vector<torch::Tensor> own,
                                                             torch::Tensor result) {
  comm::check_values(tree.nodes(rank_), own, result);
  std::vector<torch::Tensor> tensors = own;
  tensors.push_back(result);
  auto done = start("reduce_scatter", tensors, [&] { reduction_.reduce_scatter(tree, own, result); });
  return std::make_unique<StartedWork>(*this, std::move(done));
}

std::unique_ptr<comm::Work> NcclCommunicator::all_gather(torch::Tensor tensor) {
  auto done = start("all_gather", {tensor}, [&] { reduction_.all_gather(tensor); });
  return std::make_unique<StartedWork>(*this, std::move(done));
}

void NcclCommunicator::broadcast(torch::Tensor tensor, int root) {
  const auto done = start("broadcast", {tensor}, [&] {
    void* data = tensor.data_ptr();
    accept(ncclBroadcast(data, data, tensor.nbytes(), ncclUint8, root, comm_.get(), stream_.stream()));
  });
  done->block(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)));
}

void NcclCommunicator::send(torch::Tensor tensor, int to) {
  const auto done = start("send", {tensor}, [&] {
    accept(ncclSend(tensor.data_ptr(), tensor.nbytes(), ncclUint8, to, comm_.get(), stream_.stream()));
  });
  done->block(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)));
}

void NcclCommunicator::receive(torch::Tensor tensor, int from) {
  const auto done = start("receive", {tensor}, [&] {
    accept(ncclRecv(tensor.data_ptr(), tensor.nbytes(), ncclUint8, from, comm_.get(), stream_.stream()));
  });
  done->block(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)));
}

void NcclCommunicator::barrier() {
  const torch::Tensor token = torch::zeros({1}, torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(device_)));
  const auto done = start("barrier", {token}, [&] {
    accept(ncclAllReduce(token.data_ptr(), token.data_ptr(), 1, ncclFloat32, ncclSum, comm_.get(), stream_.stream()));
  });
  while (!done->query()) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  throw_if_failed();  // an aborted collective also ends
}

std::shared_ptr<c10::cuda::CUDAEvent> NcclCommunicator::start(const char* verb,
                                                              const std::vector<torch::Tensor>& tensors,
                                                              const std::function<void()>& enqueue) {
  for (const torch::Tensor& tensor : tensors) {
    PB_CHECK(tensor.is_cuda() && tensor.device().index() == device_,
             "{} over NCCL: expected a tensor on cuda:{}, found {}", verb, device_, tensor.device().str());
    PB_CHECK(tensor.is_non_overlapping_and_dense(),
             "{}: expected a tensor without gaps, found shape {} with strides {}: pass a contiguous copy", verb,
             c10::str(tensor.sizes()), c10::str(tensor.strides()));
  }
  const std::lock_guard lock(mutex_);  // from the check on, because the watchdog may take comm_ away
  if (!failure_.empty()) throw Error(failure_);
  Event ready;
  ready.record(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)));
  const c10::cuda::CUDAStreamGuard guard(stream_);  // and its device
  ready.block(stream_);
  // Keeps their memory from other tensors until this stream has finished with it.
  for (const torch::Tensor& tensor : tensors) {
    c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream_);
  }
  enqueue();
  auto done = std::make_shared<Event>();
  done->record(stream_);
  running_.push_back({done, Clock::now(), verb});
  return done;
}

void NcclCommunicator::exchange(const std::vector<int>& ranks, const std::vector<comm::PeerSum::Message>& sent,
                                const std::vector<comm::PeerSum::Message>& received) {
  const auto rank_of = [&](const comm::PeerSum::Message& message) {
    return ranks[static_cast<std::size_t>(message.member)];
  };
  check_nccl(ncclGroupStart(), comm_.get());
  ncclResult_t first = ncclSuccess;  // a group must end before its error can be thrown
  const auto note = [&](ncclResult_t status) {
    if (first == ncclSuccess && status != ncclInProgress) first = status;
  };
  for (const auto& message : sent) {
    if (message.part.numel() == 0) continue;
    note(ncclSend(message.part.data_ptr(), message.part.nbytes(), ncclUint8, rank_of(message), comm_.get(),
                  stream_.stream()));
  }
  for (const auto& message : received) {
    if (message.part.numel() == 0) continue;
    note(ncclRecv(message.part.data_ptr(), message.part.nbytes(), ncclUint8, rank_of(message), comm_.get(),
                  stream_.stream()));
  }
  const ncclResult_t end = ncclGroupEnd();
  check_nccl(first, comm_.get());
  accept(end);
}

// A call on a non-blocking communicator returns before it has put its kernel on the stream; an event recorded earlier,
// or an operator, would not come after it.
void NcclCommunicator::accept(ncclResult_t status) {
  check_nccl(status, comm_.get());
  const auto deadline = Clock::now() + timeout_;
  while (true) {
    status = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_.get(), &status), comm_.get());
    check_nccl(status, comm_.get());
    if (status == ncclSuccess) return;
    PB_CHECK(Clock::now() < deadline,
             "NCCL: rank {}: a call was not accepted within {} s: look for a lost rank, or for "
             "a network that NCCL cannot use (PIXELBERT_TCP_INTERFACE, NCCL_DEBUG=INFO)",
             rank_, timeout_.count());
    std::this_thread::yield();
  }
}

void NcclCommunicator::throw_if_failed() {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) throw Error(failure_);
}

void NcclCommunicator::watch(const std::stop_token& stop) {
  // A new thread starts on device 0, where querying an event would create a context of half a gigabyte.
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const std::lock_guard lock(mutex_);
    if (const std::string failure = find_failure(); !failure.empty()) {
      give_up(failure);
      return;
    }
  }
}

std::string NcclCommunicator::find_failure() {
  try {
    while (!running_.empty() && running_.front().done->query()) running_.pop_front();
    ncclResult_t status = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_.get(), &status), comm_.get());
    check_nccl(status, comm_.get());
  } catch (const std::exception& error) {  // NCCL's or CUDA's
    return message_of(error);
  }
  if (running_.empty() || Clock::now() - running_.front().since < timeout_) return "";
  return fmt::format("NCCL: {} did not end within {} s: a rank is lost, or stopped making the same calls",
                     running_.front().verb, timeout_.count());
}

void NcclCommunicator::give_up(const std::string& reason) {
  failure_ = fmt::format("rank {}: {}", rank_, reason);
  log::error("{}", failure_);  // now: the host may take a while to ask
  comm_.reset();
}

}  // namespace pixelbert::cuda
