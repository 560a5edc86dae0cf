#include "cuda/nccl_communicator.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <exception>
#include <utility>

#include "core/log.h"
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

NcclCommunicator::NcclCommunicator(comm::Communicator& control, int device, std::chrono::seconds timeout)
    : rank_(control.rank()),
      world_size_(control.world_size()),
      device_(device),
      timeout_(timeout),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, static_cast<c10::DeviceIndex>(device))) {
  check_version();
  const ncclUniqueId id = agree_on_id(control);
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const ncclResult_t status = ncclCommInitRankConfig(&comm, world_size_, id, rank_, &config);
  comm_ = UniqueHandle<NcclCommTraits>(comm);
  check_nccl(status, comm);
  wait_until_accepted("the start of NCCL");
  watchdog_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

NcclCommunicator::~NcclCommunicator() {
  watchdog_.request_stop();
  watchdog_.join();
}

std::unique_ptr<comm::Work> NcclCommunicator::all_reduce(torch::Tensor tensor, comm::ReduceOp op) {
  auto done = start("all_reduce", tensor, [&](ncclComm_t comm, cudaStream_t stream) {
    void* data = tensor.data_ptr();
    return ncclAllReduce(data, data, static_cast<std::size_t>(tensor.numel()), nccl_type(tensor), nccl_op(op), comm,
                         stream);
  });
  return std::make_unique<StartedWork>(*this, std::move(done));
}

void NcclCommunicator::broadcast(torch::Tensor tensor, int root) {
  const auto done = start("broadcast", tensor, [&](ncclComm_t comm, cudaStream_t stream) {
    void* data = tensor.data_ptr();
    return ncclBroadcast(data, data, tensor.nbytes(), ncclUint8, root, comm, stream);
  });
  done->block(c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)));
}

void NcclCommunicator::barrier() {
  const torch::Tensor token = torch::zeros({1}, torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(device_)));
  const auto done = start("barrier", token, [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclAllReduce(token.data_ptr(), token.data_ptr(), 1, ncclFloat32, ncclSum, comm, stream);
  });
  while (!done->query()) {
    throw_if_failed();
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  throw_if_failed();  // an aborted collective also ends
}

std::shared_ptr<c10::cuda::CUDAEvent> NcclCommunicator::start(
    const char* verb, const torch::Tensor& tensor, const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& call) {
  PB_CHECK(tensor.is_cuda() && tensor.device().index() == device_,
           "{} over NCCL: expected a tensor on cuda:{}, found {}", verb, device_, tensor.device().str());
  PB_CHECK(tensor.is_non_overlapping_and_dense(),
           "{}: expected a tensor without gaps, found shape {} with strides {}: pass a contiguous copy", verb,
           c10::str(tensor.sizes()), c10::str(tensor.strides()));
  throw_if_failed();
  const std::lock_guard lock(mutex_);
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
  Event ready;
  ready.record(c10::cuda::getCurrentCUDAStream());
  ready.block(stream_);
  // Keeps its memory from another tensor until this stream has finished with it.
  c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream_);
  check_nccl(call(comm_.get(), stream_.stream()), comm_.get());
  wait_until_accepted(verb);
  auto done = std::make_shared<Event>();
  done->record(stream_);
  running_.push_back({done, Clock::now(), verb});
  return done;
}

// A call on a non-blocking communicator returns before it has put its kernel on the stream; an event recorded earlier
// would not cover it.
void NcclCommunicator::wait_until_accepted(const char* verb) {
  const auto deadline = Clock::now() + timeout_;
  while (true) {
    ncclResult_t status = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_.get(), &status), comm_.get());
    check_nccl(status, comm_.get());
    if (status == ncclSuccess) return;
    PB_CHECK(Clock::now() < deadline, "NCCL: rank {}: {} was not accepted within {} s: look for a lost rank", rank_,
             verb, timeout_.count());
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
    return error.what();
  }
  if (running_.empty() || Clock::now() - running_.front().since < timeout_) return "";
  return fmt::format("NCCL: {} did not end within {} s: a rank is lost, or stopped making the same calls",
                     running_.front().verb, timeout_.count());
}

void NcclCommunicator::give_up(const std::string& reason) {
  failure_ = fmt::format("rank {}: {}", rank_, reason);
  log::error("{}", failure_);  // now: the host may take a while to ask
  comm_ = {};
}

}  // namespace pixelbert::cuda
