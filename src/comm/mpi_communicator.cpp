#include "comm/mpi_communicator.h"

#include <ATen/Parallel.h>
#include <mpi.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "comm/group_sum.h"
#include "comm/host_sum.h"
#include "comm/mpi_check.h"
#include "core/running_clock.h"
#include "core/single_thread.h"

namespace pixelbert::comm {
namespace {

MPI_Datatype mpi_type(const torch::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case torch::kFloat32:
      return MPI_FLOAT;
    case torch::kFloat64:
      return MPI_DOUBLE;
    case torch::kInt64:
      return MPI_INT64_T;
    case torch::kInt32:
      return MPI_INT32_T;
    case torch::kUInt8:
      return MPI_UINT8_T;
    default:
      fail(fmt::format("all_reduce over MPI: expected float32, float64, int64, int32 or uint8, found {}",
                       c10::toString(tensor.scalar_type())));
  }
}

MPI_Op mpi_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::Sum:
      return MPI_SUM;
    case ReduceOp::Min:
      return MPI_MIN;
    case ReduceOp::Max:
      return MPI_MAX;
  }
  fail(fmt::format("all_reduce: unknown operation {}", static_cast<int>(op)));
}

void check_tensor(const char* verb, const torch::Tensor& tensor) {
  PB_CHECK(tensor.is_cpu(), "{} over MPI: expected a CPU tensor, found one on {}", verb, tensor.device().str());
  PB_CHECK(tensor.is_non_overlapping_and_dense(),
           "{}: expected a tensor without gaps, found shape {} with strides {}: pass a contiguous copy", verb,
           c10::str(tensor.sizes()), c10::str(tensor.strides()));
}

// Cuts [0, size) into pieces of at most `piece` and calls f(begin, count) for each.
template <class F>
void for_each_piece(std::int64_t size, std::int64_t piece, F f) {
  for (std::int64_t begin = 0; begin < size; begin += piece) f(begin, static_cast<int>(std::min(piece, size - begin)));
}

// MPI may still write into the memory of a request that was given up, as long as the process lives.
template <class Owner>
void keep_for_ever(Owner owner) {
  static_cast<void>(new Owner(std::move(owner)));
}

// Waits without taking a core from others, which MPI_Wait would. `owner` has the memory of the request.
template <class Owner>
void sleep_until_done(MPI_Request& request, std::chrono::milliseconds timeout, std::string_view expected,
                      const Owner& owner) {
  const auto deadline = RunningClock::now() + timeout;
  int done = 0;
  try {
    for (int polls = 0; check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE)), !done; ++polls) {
      if (polls < 100) {
        std::this_thread::yield();
        continue;
      }
      PB_CHECK(RunningClock::now() < deadline,
               "MPI: expected {} within {} s, found one missing: the rank or its host is lost", expected,
               std::chrono::duration<double>(timeout).count());
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  } catch (...) {
    keep_for_ever(owner);
    throw;
  }
}

enum class Call { AllReduce, ReduceScatter, AllGather, Broadcast, Barrier };

// A blocking MPI call spins, which takes a core from backward (or from the ranks it waits for) as long as one rank is
// behind. So the ranks first sleep until all have arrived, and only then move data. They compare their calls meanwhile:
// if a rank left one out, data of another call would be added, or MPI would end the job without a word about whose
// fault it is. Instead they wait for the watchdog, which knows.
void meet(MPI_Comm comm, std::chrono::milliseconds timeout, Call call, std::int64_t bytes) {
  const auto deadline = RunningClock::now() + timeout;
  const std::int64_t own = (bytes << 3) + static_cast<std::int64_t>(call);
  const auto most = std::make_shared<std::array<std::int64_t, 2>>(std::array{own, -own});
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, most->data(), 2, MPI_INT64_T, MPI_MAX, comm, &request));
  sleep_until_done(request, timeout, "every rank at this call", most);
  while (most->front() != -most->back()) {
    PB_CHECK(RunningClock::now() < deadline,
             "MPI: expected the same call on every rank, found other ones or other sizes for {} s: a rank left a call "
             "out",
             std::chrono::duration<double>(timeout).count());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// The messages of one exchange between the members of `comm`, started together.
void exchange(MPI_Comm comm, std::chrono::milliseconds timeout, const std::vector<PeerSum::Message>& sent,
              const std::vector<PeerSum::Message>& received) {
  std::vector<MPI_Request> requests;
  const auto start = [&](const PeerSum::Message& message, auto&& begin) {
    auto* const data = static_cast<std::byte*>(message.part.data_ptr());
    for_each_piece(static_cast<std::int64_t>(message.part.nbytes()), INT_MAX, [&](std::int64_t first, int count) {
      check_mpi(begin(data + first, count, message.member, &requests.emplace_back(MPI_REQUEST_NULL)));
    });
  };
  const auto test = [&] {
    int done = 0;
    check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE));
    return done != 0;
  };
  try {
    for (const PeerSum::Message& message : received) {
      start(message, [&](void* data, int count, int member, MPI_Request* request) {
        return MPI_Irecv(data, count, MPI_BYTE, member, 0, comm, request);
      });
    }
    for (const PeerSum::Message& message : sent) {
      start(message, [&](const void* data, int count, int member, MPI_Request* request) {
        return MPI_Isend(data, count, MPI_BYTE, member, 0, comm, request);
      });
    }
    // Most of the time of a sum between hosts. MPI_Waitall would wait forever for a host that has lost its power.
    const auto deadline = RunningClock::now() + timeout;
    for (int polls = 0; !test(); ++polls) {
      PB_CHECK(polls % 1000 != 999 || RunningClock::now() < deadline,
               "MPI: expected the messages of the other hosts within {} s, found one missing: a host is lost",
               std::chrono::duration<double>(timeout).count());
      std::this_thread::yield();
    }
  } catch (...) {
    keep_for_ever(sent);
    keep_for_ever(received);
    throw;
  }
}

// Collective over `world`. The communicators of the groups are never freed, like the queue's.
TreeReduction make_reduction(const MpiSession& session, MPI_Comm world, std::int64_t piece_bytes,
                             std::chrono::milliseconds timeout) {
  RankLayout layout(session.host_of_rank(), session.rank());
  const auto split = [&](const Group& group) {
    MPI_Comm comm = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(world, group.ranks[0], group.me, &comm));
    return comm;
  };
  std::unique_ptr<GroupSum> in_host, across;
  if (layout.in_host.size() > 1) {
    in_host = std::make_unique<HostSum>(split(layout.in_host), world, piece_bytes, timeout);
  }
  if (layout.across.size() > 1) {
    across = std::make_unique<PeerSum>(layout.across.me, std::bind_front(exchange, split(layout.across), timeout));
  }
  return {std::move(layout), std::move(in_host), std::move(across)};
}

class QueuedWork final : public Work {
 public:
  explicit QueuedWork(std::future<void> result) : result_(std::move(result)) {}
  void wait() override { result_.get(); }

 private:
  std::future<void> result_;
};

}  // namespace

struct MpiCommunicator::Queue {
  MPI_Comm comm = MPI_COMM_NULL;  // never freed: that is collective, but a job may end by an error on one rank
  std::optional<TreeReduction> tree;
  std::mutex mutex;
  std::condition_variable_any filled;
  std::deque<std::packaged_task<void()>> tasks;
  std::int64_t unfinished = 0;  // tasks waiting or running
  std::exception_ptr failure;   // the first one; after it no more collectives are run
};

MpiCommunicator::MpiCommunicator(const MpiSession& session, std::int64_t piece_bytes, std::chrono::milliseconds timeout)
    : rank_(session.rank()),
      world_size_(session.world_size()),
      piece_bytes_(piece_bytes),
      timeout_(timeout),
      queue_(std::make_shared<Queue>()) {
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &queue_->comm));
  queue_->tree = make_reduction(session, queue_->comm, std::min(piece_bytes, kHostPieceBytes), timeout);
  thread_ = std::jthread([queue = queue_](const std::stop_token& stop) { serve(stop, *queue); });
}

MpiCommunicator::~MpiCommunicator() {
  thread_.request_stop();
  const std::lock_guard lock(queue_->mutex);
  if (queue_->unfinished > 0) thread_.detach();
}

void MpiCommunicator::serve(const std::stop_token& stop, Queue& queue) {
  pthread_setname_np(pthread_self(), "collectives");
  at::get_num_threads();  // as single_thread.h asks
  use_single_thread();
  while (true) {
    std::packaged_task<void()> task;
    {
      std::unique_lock lock(queue.mutex);
      if (!queue.filled.wait(lock, stop, [&] { return !queue.tasks.empty(); })) return;
      if (stop.stop_requested()) return;
      task = std::move(queue.tasks.front());
      queue.tasks.pop_front();
    }
    task();
  }
}

std::unique_ptr<Work> MpiCommunicator::enqueue(std::function<void()> collective) {
  // Counts the task as finished before wait() returns, so that a later destructor finds the thread idle.
  auto counted = [queue = queue_.get(), collective = std::move(collective)] {
    if (!queue->failure) {
      try {
        collective();
      } catch (...) {
        queue->failure = std::current_exception();
      }
    }
    const std::lock_guard lock(queue->mutex);
    --queue->unfinished;
    if (queue->failure) std::rethrow_exception(queue->failure);
  };
  std::packaged_task<void()> task(std::move(counted));
  auto work = std::make_unique<QueuedWork>(task.get_future());
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->tasks.push_back(std::move(task));
    ++queue_->unfinished;
  }
  queue_->filled.notify_one();
  return work;
}

std::unique_ptr<Work> MpiCommunicator::all_reduce(torch::Tensor tensor, ReduceOp op) {
  check_tensor("all_reduce", tensor);
  const std::int64_t item = tensor.element_size();
  const std::int64_t piece = std::clamp<std::int64_t>(piece_bytes_ / item, 1, INT_MAX);
  return enqueue([=, timeout = timeout_, comm = queue_->comm, type = mpi_type(tensor), op = mpi_op(op)] {
    meet(comm, timeout, Call::AllReduce, static_cast<std::int64_t>(tensor.nbytes()));
    auto* data = static_cast<std::byte*>(tensor.data_ptr());
    for_each_piece(tensor.numel(), piece, [&](std::int64_t begin, int count) {
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, data + begin * item, count, type, op, comm));
    });
  });
}

std::unique_ptr<Work> MpiCommunicator::reduce_scatter(const SumTree& tree, std::vector<torch::Tensor> own,
                                                      torch::Tensor result) {
  for (const torch::Tensor& value : own) check_tensor("reduce_scatter", value);
  check_tensor("reduce_scatter", result);
  check_values(tree.nodes(rank_), own, result);
  return enqueue([=, timeout = timeout_, queue = queue_.get()] {
    meet(queue->comm, timeout, Call::ReduceScatter, static_cast<std::int64_t>(result.nbytes()));
    queue->tree->reduce_scatter(tree, own, result);
  });
}

Range MpiCommunicator::slice(std::int64_t size, int rank) const {
  return queue_->tree->layout().slice(size, rank);
}

std::unique_ptr<Work> MpiCommunicator::all_gather(torch::Tensor tensor) {
  check_tensor("all_gather", tensor);
  return enqueue([=, timeout = timeout_, queue = queue_.get()] {
    meet(queue->comm, timeout, Call::AllGather, static_cast<std::int64_t>(tensor.nbytes()));
    queue->tree->all_gather(tensor);
  });
}

void MpiCommunicator::broadcast(torch::Tensor tensor, int root) {
  check_tensor("broadcast", tensor);
  PB_CHECK(root >= 0 && root < world_size_, "broadcast: expected a root from 0 to {}, found {}", world_size_ - 1, root);
  enqueue([=, timeout = timeout_, comm = queue_->comm] {
    meet(comm, timeout, Call::Broadcast, static_cast<std::int64_t>(tensor.nbytes()));
    auto* data = static_cast<std::byte*>(tensor.data_ptr());
    for_each_piece(static_cast<std::int64_t>(tensor.nbytes()), INT_MAX, [&](std::int64_t begin, int count) {
      check_mpi(MPI_Bcast(data + begin, count, MPI_BYTE, root, comm));
    });
  })->wait();
}

void MpiCommunicator::send(torch::Tensor tensor, int to) {
  check_tensor("send", tensor);
  enqueue([=, timeout = timeout_, comm = queue_->comm] {
    const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
    for_each_piece(static_cast<std::int64_t>(tensor.nbytes()), INT_MAX, [&](std::int64_t begin, int count) {
      MPI_Request request = MPI_REQUEST_NULL;
      check_mpi(MPI_Isend(data + begin, count, MPI_BYTE, to, 0, comm, &request));
      sleep_until_done(request, timeout, "the receiver of a message", tensor);
    });
  })->wait();
}

void MpiCommunicator::receive(torch::Tensor tensor, int from) {
  check_tensor("receive", tensor);
  enqueue([=, timeout = timeout_, comm = queue_->comm] {
    auto* data = static_cast<std::byte*>(tensor.mutable_data_ptr());
    for_each_piece(static_cast<std::int64_t>(tensor.nbytes()), INT_MAX, [&](std::int64_t begin, int count) {
      MPI_Request request = MPI_REQUEST_NULL;
      check_mpi(MPI_Irecv(data + begin, count, MPI_BYTE, from, 0, comm, &request));
      sleep_until_done(request, timeout, "the sender of a message", tensor);
    });
  })->wait();
}

void MpiCommunicator::barrier() {
  enqueue([timeout = timeout_, comm = queue_->comm] { meet(comm, timeout, Call::Barrier, 0); })->wait();
}

}  // namespace pixelbert::comm
