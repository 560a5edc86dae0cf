// NCCL of one host, in place of libnccl.so.2, for processes and for threads. Like the real one in its non-blocking
// mode, a call returns ncclInProgress and puts its kernel on the stream later. Ranks send through rings in shared
// memory, one for each ordered pair. What a rank has sent and its peer has not yet received is lost if the rank aborts:
// in NCCL, proxy threads then stop sending. Sums of all_reduce take another order than the fixed tree.
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime.h"

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kRingBytes = 64 << 10;

struct Ring {
  std::atomic<std::uint64_t> written, read;
  std::atomic<bool> lost;  // the sender has aborted
  char bytes[kRingBytes];
};

// Begins each message, so that ranks that make different calls are noticed.
struct Header {
  std::uint64_t bytes;
};

// One message of a kernel. Its header goes first.
struct Transfer {
  Transfer(int peer, void* memory, std::size_t bytes, bool sends)
      : peer(peer), memory(static_cast<char*>(memory)), sends(sends), header{bytes} {}

  int peer;
  char* memory;
  bool sends;
  Header header;
  Header received = {0};
  std::size_t done = 0;

  std::size_t all() const { return sizeof header + header.bytes; }
  // The memory of the next byte, and how many follow it.
  std::pair<char*, std::size_t> next() {
    char* const begin = reinterpret_cast<char*>(sends ? &header : &received);
    if (done < sizeof header) return {begin + done, sizeof header - done};
    return {memory + (done - sizeof header), all() - done};
  }
};

[[noreturn]] void unlike_calls(const Transfer& transfer) {
  std::fprintf(stderr, "simulated NCCL: a rank receives %zu bytes from rank %d, which sends %zu\n",
               static_cast<std::size_t>(transfer.header.bytes), transfer.peer,
               static_cast<std::size_t>(transfer.received.bytes));
  std::_Exit(4);
}

using Aborted = std::shared_ptr<std::atomic<bool>>;

// The rings of all ranks. Mapped by each rank, and by kernels that may outlive the communicator.
class Rings {
 public:
  Rings(const std::string& name, int ranks)
      : ranks_(ranks), bytes_(sizeof(Ring) * static_cast<std::size_t>(ranks * ranks)) {
    const int file = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, static_cast<off_t>(bytes_)) != 0) std::abort();
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
  }
  ~Rings() { munmap(base_, bytes_); }

  Ring& ring(int from, int to) { return static_cast<Ring*>(base_)[from * ranks_ + to]; }
  int ranks() const { return ranks_; }

 private:
  int ranks_;
  std::size_t bytes_;
  void* base_;
};

// Moves what fits, if anything does.
bool advance(Rings& rings, int rank, Transfer& transfer) {
  Ring& ring = transfer.sends ? rings.ring(rank, transfer.peer) : rings.ring(transfer.peer, rank);
  if (!transfer.sends && ring.lost) return false;
  bool moved = false;
  while (transfer.done < transfer.all()) {
    const std::uint64_t written = ring.written, read = ring.read;
    const std::uint64_t at = (transfer.sends ? written : read) % kRingBytes;
    const std::uint64_t possible = transfer.sends ? kRingBytes - (written - read) : written - read;
    auto [memory, bytes] = transfer.next();
    bytes = std::min({bytes, static_cast<std::size_t>(possible), kRingBytes - static_cast<std::size_t>(at)});
    if (bytes == 0) break;
    if (transfer.sends) {
      std::memcpy(ring.bytes + at, memory, bytes);
      ring.written += bytes;
    } else {
      std::memcpy(memory, ring.bytes + at, bytes);
      ring.read += bytes;
    }
    transfer.done += bytes;
    moved = true;
    if (!transfer.sends && transfer.done == sizeof(Header) && transfer.received.bytes != transfer.header.bytes) {
      unlike_calls(transfer);
    }
  }
  return moved;
}

// Runs all at the same time, as a group does. Returns false if the communicator was aborted.
bool run(Rings& rings, int rank, std::vector<Transfer> transfers, const std::atomic<bool>& aborted) {
  // Looks at `aborted` first, so that a kernel that follows an aborted one does not take the rest of that one's message
  // for its own.
  while (!aborted) {
    bool moved = false, unfinished = false;
    std::vector<std::pair<int, bool>> busy;  // messages between two ranks keep their order
    for (Transfer& transfer : transfers) {
      if (transfer.done == transfer.all()) continue;
      unfinished = true;
      const std::pair way(transfer.peer, transfer.sends);
      if (std::find(busy.begin(), busy.end(), way) != busy.end()) continue;
      moved |= advance(rings, rank, transfer);
      if (transfer.done < transfer.all()) busy.push_back(way);
    }
    if (!unfinished) return true;
    if (!moved) std::this_thread::sleep_for(100us);
  }
  return false;
}

template <class T>
void combine(std::vector<std::vector<char>>& values, std::size_t count, ncclRedOp_t op, char* result) {
  const std::size_t ranks = values.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = [&](std::size_t rank) { return reinterpret_cast<const T*>(values[rank].data())[i]; };
    const std::size_t first = i % ranks;  // as in a ring, whose pieces begin at different ranks
    T sum = value(first);
    for (std::size_t other = 1; other < ranks; ++other) {
      const T next = value((first + other) % ranks);
      sum = op == ncclSum ? static_cast<T>(sum + next) : op == ncclMin ? std::min(sum, next) : std::max(sum, next);
    }
    reinterpret_cast<T*>(result)[i] = sum;
  }
}

struct Type {
  std::size_t bytes;
  void (*combine)(std::vector<std::vector<char>>&, std::size_t, ncclRedOp_t, char*);
};

Type type_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
      return {4, combine<float>};
    case ncclFloat64:
      return {8, combine<double>};
    case ncclInt64:
      return {8, combine<std::int64_t>};
    case ncclInt32:
      return {4, combine<std::int32_t>};
    case ncclUint8:
      return {1, combine<std::uint8_t>};
    default:
      return {0, nullptr};
  }
}

}  // namespace

struct ncclComm {
  std::string name;
  int rank;
  std::shared_ptr<Rings> rings;
  std::atomic<ncclResult_t> state = ncclInProgress;
  Aborted aborted = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<int>> running = std::make_shared<std::atomic<int>>(0);  // kernels
  bool finalized = false;
  std::thread late = {};  // what the last call does after it has returned
};

namespace {

// Lets a call return first.
ncclResult_t later(ncclComm& comm, std::function<void()> work) {
  if (comm.late.joinable()) comm.late.join();
  comm.state = ncclInProgress;
  comm.late = std::thread([&comm, work = std::move(work)] {
    std::this_thread::sleep_for(300us);
    work();
    comm.state = ncclSuccess;
  });
  return ncclInProgress;
}

ncclResult_t start(ncclComm_t comm, cudaStream_t stream, std::function<void()> kernel) {
  if (!comm || comm->finalized || comm->state == ncclInProgress) return ncclInvalidArgument;
  ++*comm->running;
  return later(*comm, [stream, running = comm->running, kernel = std::move(kernel)] {
    simulated_launch(stream, [running, kernel] {
      kernel();
      --*running;
    });
  });
}

// The messages of this thread's group.
thread_local int depth = 0;
struct Grouped {
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<Transfer> transfers;
};
thread_local Grouped grouped;

ncclResult_t end_group() {
  Grouped group = std::exchange(grouped, {});
  if (group.transfers.empty()) return ncclSuccess;
  return start(group.comm, group.stream,
               [rings = group.comm->rings, rank = group.comm->rank, aborted = group.comm->aborted, group] {
                 run(*rings, rank, group.transfers, *aborted);
               });
}

ncclResult_t add(ncclComm_t comm, cudaStream_t stream, Transfer transfer) {
  if (!comm) return ncclInvalidArgument;
  grouped.comm = comm;
  grouped.stream = stream;
  grouped.transfers.push_back(transfer);
  return depth > 0 ? ncclInProgress : end_group();
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t) {
  return "an error of the simulated NCCL";
}
const char* ncclGetLastError(ncclComm_t) {
  return "";
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> count = 0;
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->internal, sizeof id->internal, "/simulated-nccl-%d-%d", getpid(), count++);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t*) {
  *comm = new ncclComm{.name = id.internal, .rank = rank, .rings = std::make_shared<Rings>(id.internal, ranks)};
  return later(**comm, [&comm = **comm] {  // all ranks meet: afterwards nobody needs the name
    std::vector<Transfer> hello;
    for (int peer = 0; peer < comm.rings->ranks(); ++peer) {
      hello.emplace_back(peer, nullptr, 0, true);
      hello.emplace_back(peer, nullptr, 0, false);
    }
    run(*comm.rings, comm.rank, hello, *comm.aborted);
    shm_unlink(comm.name.c_str());
  });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  if (!comm) return ncclInvalidArgument;
  *state = comm->state;
  return ncclSuccess;
}

// Waits until peers have all that this rank has sent, and no longer needs the rank for it.
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (!comm || comm->state == ncclInProgress) return ncclInvalidArgument;
  comm->finalized = true;
  return later(*comm, [comm] {
    const auto unread = [comm] {
      if (*comm->running > 0) return true;
      for (int peer = 0; peer < comm->rings->ranks(); ++peer) {
        const Ring& ring = comm->rings->ring(comm->rank, peer);
        if (ring.read != ring.written) return true;
      }
      return false;
    };
    while (unread() && !*comm->aborted) std::this_thread::sleep_for(100us);
  });
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!comm || !comm->finalized || comm->state == ncclInProgress) return ncclInvalidArgument;
  comm->late.join();
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (!comm) return ncclInvalidArgument;
  *comm->aborted = true;
  for (int peer = 0; peer < comm->rings->ranks(); ++peer) comm->rings->ring(comm->rank, peer).lost = true;
  if (comm->late.joinable()) comm->late.join();
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  return --depth > 0 ? ncclSuccess : end_group();
}
ncclResult_t ncclSend(const void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(comm, stream, Transfer(peer, simulated_memory(data), count * type_of(type).bytes, true));
}
ncclResult_t ncclRecv(void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(comm, stream, Transfer(peer, simulated_memory(data), count * type_of(type).bytes, false));
}

ncclResult_t ncclBroadcast(const void*, void* data, std::size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  if (!comm) return ncclInvalidArgument;
  ncclGroupStart();
  for (int peer = 0; peer < comm->rings->ranks(); ++peer) {
    if (peer == root) continue;
    if (comm->rank == root) ncclSend(data, count, type, peer, comm, stream);
    if (comm->rank == peer) ncclRecv(data, count, type, root, comm, stream);
  }
  return ncclGroupEnd();
}

ncclResult_t ncclAllReduce(const void*, void* data, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  const auto [item, combine] = type_of(type);
  if (!comm || !combine) return ncclInvalidArgument;
  return start(comm, stream,
               [=, rings = comm->rings, rank = comm->rank, aborted = comm->aborted, combine = combine,
                bytes = count * item, own = static_cast<char*>(simulated_memory(data))] {
                 std::vector<std::vector<char>> values(static_cast<std::size_t>(rings->ranks()),
                                                       std::vector<char>(bytes));
                 std::vector<Transfer> transfers;
                 for (int peer = 0; peer < rings->ranks(); ++peer) {
                   transfers.emplace_back(peer, own, bytes, true);
                   transfers.emplace_back(peer, values[static_cast<std::size_t>(peer)].data(), bytes, false);
                 }
                 if (run(*rings, rank, std::move(transfers), *aborted)) combine(values, count, op, own);
               });
}

}  // extern "C"
