// A CUDA runtime of threads, in place of libcudart.so.13. A stream is a thread with a queue, so the host runs ahead of
// it as on a GPU. Memory of the device is mapped twice: at its own address nobody may touch it, and only kernels know
// the other one. So a host that reads a pointer of the device ends with SIGSEGV.
//
//   SIMULATED_GPUS        GPUs that a process sees (4)
//   SIMULATED_GPU_BYTES   memory of each
//   SIMULATED_DELAY_US    the most that a kernel waits before it begins (0)
//   SIMULATED_WAITS       a file to which each process adds the number of times that the host waited for the device
#include "runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

long simulated_setting(const char* name, long otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? std::strtol(value, nullptr, 10) : otherwise;
}

#ifdef __SANITIZE_THREAD__
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
void __tsan_acquire(void* place);
void __tsan_release(void* place);
void __tsan_read_range(void* begin, unsigned long bytes);
void __tsan_write_range(void* begin, unsigned long bytes);
}
#endif

namespace {

// ThreadSanitizer shall see the order that CUDA promises, and not that of the locks in here: who puts a kernel on a
// stream does not come after the kernels that happen to have ended there.
struct Unseen {
#ifdef __SANITIZE_THREAD__
  Unseen() {
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);  // and writes
  }
  ~Unseen() {
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
  }
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
#endif
};
struct Lock : private Unseen, public std::unique_lock<std::mutex> {
  using std::unique_lock<std::mutex>::unique_lock;
};

// What was done before release(place) comes before what follows acquire(place).
void release([[maybe_unused]] const void* place) {
#ifdef __SANITIZE_THREAD__
  __tsan_release(const_cast<void*>(place));
#endif
}
void acquire([[maybe_unused]] const void* place) {
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(const_cast<void*>(place));
#endif
}

constexpr int kMostDevices = 16;

int device_count() {
  static const int count = static_cast<int>(simulated_setting("SIMULATED_GPUS", 4));
  return count;
}

thread_local int current_device = 0;

class Stream {
 public:
  void put(std::function<void()> kernel) {
    auto next = std::make_unique<std::function<void()>>(std::move(kernel));
    release(next.get());
    const Lock lock(mutex_);
    if (ended_) return;
    queue_.push_back(std::move(next));
    changed_.notify_all();
  }
  bool is_idle() {
    {
      const Lock lock(mutex_);
      if (!queue_.empty()) return false;
    }
    acquire(this);
    return true;
  }
  void wait_until_idle() {
    {
      Lock lock(mutex_);
      changed_.wait(lock, [this] { return queue_.empty(); });
    }
    acquire(this);
  }
  void end() {  // drops what waits, and whatever is put into it afterwards
    {
      Lock lock(mutex_);
      ended_ = true;
      if (queue_.size() > 1) queue_.erase(queue_.begin() + 1, queue_.end());
      if (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return queue_.empty(); })) return;
    }
    acquire(this);
  }

 private:
  void run() {
    const long delay = simulated_setting("SIMULATED_DELAY_US", 0);
    std::minstd_rand random;
    while (true) {
      std::unique_ptr<std::function<void()>> kernel;
      {
        Lock lock(mutex_);
        changed_.wait(lock, [this] { return !queue_.empty(); });
        kernel = std::move(queue_.front());
      }
      if (delay > 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % delay));
      acquire(kernel.get());
      (*kernel)();
      kernel.reset();
      release(this);
      const Lock lock(mutex_);
      queue_.pop_front();  // only now is the stream idle
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<std::function<void()>>> queue_;
  bool ended_ = false;
  std::thread thread_{[this] { run(); }};
};

// A record of an event, and whether its stream has come to it.
class Record {
 public:
  void reach() {
    release(this);
    const Lock lock(mutex_);
    reached_ = true;
    time_ = std::chrono::steady_clock::now();
    changed_.notify_all();
  }
  bool is_reached() {
    {
      const Lock lock(mutex_);
      if (!reached_) return false;
    }
    acquire(this);
    return true;
  }
  void wait() {
    {
      Lock lock(mutex_);
      changed_.wait(lock, [this] { return reached_; });
    }
    acquire(this);
  }
  std::chrono::steady_clock::time_point time() {
    const Lock lock(mutex_);
    return time_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_ = false;
  std::chrono::steady_clock::time_point time_;
};

class Event {
 public:
  std::shared_ptr<Record> record() {
    auto record = std::make_shared<Record>();
    const Lock lock(mutex_);
    return last_ = std::move(record);
  }
  std::shared_ptr<Record> last() {  // null before the first
    const Lock lock(mutex_);
    return last_;
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<Record> last_;
};

std::mutex streams_mutex;
std::vector<Stream*>& streams() {
  static auto* const all = new std::vector<Stream*>;
  return *all;
}

// A kernel may not run while the process takes itself apart.
void end_streams() {
  const std::lock_guard lock(streams_mutex);
  for (Stream* stream : streams()) stream->end();
}

Stream* make_stream() {
  static const int at_exit = std::atexit(end_streams);  // before what was made earlier
  (void)at_exit;
  const std::lock_guard lock(streams_mutex);
  return streams().emplace_back(new Stream);  // it and its thread last until the process ends
}

Stream& stream_of(cudaStream_t stream) {
  if (stream) return *reinterpret_cast<Stream*>(stream);
  static Stream* defaults[kMostDevices] = {};
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  Stream*& found = defaults[current_device];
  if (!found) found = make_stream();
  return *found;
}

struct Block {
  char* for_kernels;
  std::size_t bytes;
  int device;
};
std::mutex memory_mutex;
std::map<const char*, Block>& blocks() {
  static auto* const all = new std::map<const char*, Block>;
  return *all;
}

std::atomic<long> waits = 0;
struct ReportWaits {
  ~ReportWaits() {
    const char* path = std::getenv("SIMULATED_WAITS");
    if (std::FILE* file = path ? std::fopen(path, "a") : nullptr) {
      std::fprintf(file, "%ld\n", waits.load());
      std::fclose(file);
    }
  }
} report_waits;

}  // namespace

void simulated_launch(cudaStream_t stream, std::function<void()> kernel) {
  stream_of(stream).put(std::move(kernel));
}

void* simulated_memory(const void* address) {
  const auto* const wanted = static_cast<const char*>(address);
  const Lock lock(memory_mutex);
  const auto after = blocks().upper_bound(wanted);
  if (after == blocks().begin()) return const_cast<void*>(address);
  const auto& [begin, block] = *std::prev(after);
  if (wanted >= begin + block.bytes) return const_cast<void*>(address);
  return block.for_kernels + (wanted - begin);
}

void simulated_access([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes, [[maybe_unused]] bool writes) {
#ifdef __SANITIZE_THREAD__
  writes ? __tsan_write_range(memory, bytes) : __tsan_read_range(memory, bytes);
#endif
}

extern "C" {

using Status = cudaError_t;

Status cudaGetDeviceCount(int* count) {
  *count = device_count();
  return cudaSuccess;
}
Status cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
Status cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}
Status cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "simulated GPU");
  properties->major = 9;
  properties->totalGlobalMem = std::size_t{4} << 30;
  return cudaSuccess;
}
Status cudaDeviceGetPCIBusId(char* text, int size, int device) {
  std::snprintf(text, static_cast<std::size_t>(size), "0000:%02x:00.0", device + 1);
  return cudaSuccess;
}
Status cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
Status cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
const char* cudaGetErrorString(Status) {
  return "an error of the simulated CUDA runtime";
}
const char* cudaGetErrorName(Status) {
  return "simulated";
}
Status cudaGetLastError() {
  return cudaSuccess;
}
Status cudaPeekAtLastError() {
  return cudaSuccess;
}
Status cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

Status cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = reinterpret_cast<cudaStream_t>(make_stream());
  return cudaSuccess;
}
Status cudaStreamQuery(cudaStream_t stream) {
  return stream_of(stream).is_idle() ? cudaSuccess : cudaErrorNotReady;
}
Status cudaStreamSynchronize(cudaStream_t stream) {
  ++waits;
  stream_of(stream).wait_until_idle();
  return cudaSuccess;
}
Status cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
Status cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status, unsigned long long*, cudaGraph_t*,
                                const cudaGraphNode_t**, const cudaGraphEdgeData**, size_t*) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
Status cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
  return cudaSuccess;
}

Status cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}
Status cudaEventDestroy(cudaEvent_t event) {
  delete reinterpret_cast<Event*>(event);
  return cudaSuccess;
}
Status cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  stream_of(stream).put([record = reinterpret_cast<Event*>(event)->record()] { record->reach(); });
  return cudaSuccess;
}
Status cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, 0);
}
Status cudaEventQuery(cudaEvent_t event) {
  const auto record = reinterpret_cast<Event*>(event)->last();
  return !record || record->is_reached() ? cudaSuccess : cudaErrorNotReady;
}
Status cudaEventSynchronize(cudaEvent_t event) {
  ++waits;
  if (const auto record = reinterpret_cast<Event*>(event)->last()) record->wait();
  return cudaSuccess;
}
Status cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  const auto first = reinterpret_cast<Event*>(from)->last(), second = reinterpret_cast<Event*>(to)->last();
  if (!first || !second) return cudaErrorInvalidResourceHandle;
  if (!first->is_reached() || !second->is_reached()) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(second->time() - first->time()).count();
  return cudaSuccess;
}
Status cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const auto record = reinterpret_cast<Event*>(event)->last();
  if (record) stream_of(stream).put([record] { record->wait(); });
  return cudaSuccess;
}

Status cudaMalloc(void** address, std::size_t bytes) {
  const std::size_t page = 4096;
  bytes = (bytes + page - 1) / page * page;
  const Lock lock(memory_mutex);
  std::size_t used = bytes;
  for (const auto& [begin, block] : blocks()) used += block.device == current_device ? block.bytes : 0;
  if (used > static_cast<std::size_t>(simulated_setting("SIMULATED_GPU_BYTES", 4L << 30))) {
    return cudaErrorMemoryAllocation;
  }
  const int file = memfd_create("simulated GPU", 0);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return cudaErrorMemoryAllocation;
  *address = mmap(nullptr, bytes, PROT_NONE, MAP_SHARED, file, 0);
  void* const for_kernels = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  blocks()[static_cast<const char*>(*address)] = {static_cast<char*>(for_kernels), bytes, current_device};
  return cudaSuccess;
}
Status cudaFree(void* address) {
  if (!address) return cudaSuccess;
  {
    const std::lock_guard lock(streams_mutex);
    for (Stream* stream : streams()) stream->wait_until_idle();
  }
  const Lock lock(memory_mutex);
  const auto found = blocks().find(static_cast<const char*>(address));
  if (found == blocks().end()) return cudaErrorInvalidValue;
  munmap(found->second.for_kernels, found->second.bytes);
  munmap(address, found->second.bytes);
  blocks().erase(found);
  return cudaSuccess;
}
Status cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = static_cast<std::size_t>(simulated_setting("SIMULATED_GPU_BYTES", 4L << 30));
  *free = *total;
  const Lock lock(memory_mutex);
  for (const auto& [begin, block] : blocks()) *free -= block.device == current_device ? block.bytes : 0;
  return cudaSuccess;
}

int has_context(int, unsigned* flags, int* active) {
  *flags = 0;
  *active = 1;
  return 0;
}
int not_supported() {
  return cudaErrorNotSupported;
}
Status cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                        cudaDriverEntryPointQueryResult* result) {
  const bool context = std::strcmp(name, "cuDevicePrimaryCtxGetState") == 0;
  *function = context ? reinterpret_cast<void*>(has_context) : reinterpret_cast<void*>(not_supported);
  if (result) *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

// libc10_cuda.so needs these names; nobody calls them here.
#define NOT_SUPPORTED(name)          \
  int simulated_##name() asm(#name); \
  int simulated_##name() {           \
    return cudaErrorNotSupported;    \
  }
NOT_SUPPORTED(cudaDeviceCanAccessPeer)
NOT_SUPPORTED(cudaDeviceEnablePeerAccess)
NOT_SUPPORTED(cudaDeviceGetDefaultMemPool)
NOT_SUPPORTED(cudaDeviceSynchronize)
NOT_SUPPORTED(cudaFreeAsync)
NOT_SUPPORTED(cudaGraphNodeGetDependencies)
NOT_SUPPORTED(cudaIpcCloseMemHandle)
NOT_SUPPORTED(cudaIpcGetMemHandle)
NOT_SUPPORTED(cudaIpcOpenMemHandle)
NOT_SUPPORTED(cudaMallocAsync)
NOT_SUPPORTED(cudaMemPoolGetAttribute)
NOT_SUPPORTED(cudaMemPoolSetAccess)
NOT_SUPPORTED(cudaMemPoolSetAttribute)
NOT_SUPPORTED(cudaMemPoolTrimTo)
NOT_SUPPORTED(cudaMemcpy)
NOT_SUPPORTED(cudaMemcpyAsync)
NOT_SUPPORTED(cudaMemcpyPeerAsync)

}  // extern "C"
