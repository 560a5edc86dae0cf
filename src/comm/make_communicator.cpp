#include "comm/make_communicator.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <vector>

#include "comm/device_plugin.h"
#include "comm/mpi_communicator.h"
#include "comm/solo_communicator.h"
#include "comm/texts.h"
#include "core/check.h"
#include "core/log.h"

namespace pixelbert::comm {
namespace {

struct LoadedPlugin {
  const CudaPlugin* plugin = nullptr;
  std::string missing;  // why there is no plug-in or no GPU; empty when CUDA can be used
  bool broken = false;  // there is a driver, so somebody may expect CUDA
};

// The libtorch_cuda.so that was built with the libtorch_cpu.so of this process.
std::filesystem::path libtorch_cuda() {
  void* cpu = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
  link_map* where = nullptr;
  if (!cpu || dlinfo(cpu, RTLD_DI_LINKMAP, &where) != 0) return "libtorch_cuda.so";
  return std::filesystem::path(where->l_name).parent_path() / "libtorch_cuda.so";
}

LoadedPlugin load() {
  if (!dlopen("libcuda.so.1", RTLD_LAZY)) return {nullptr, "no NVIDIA driver on this machine (libcuda.so.1)"};
  // First LibTorch's own half and for everyone to see: its registration makes kCUDA known to the CPU half.
  if (!dlopen(libtorch_cuda().c_str(), RTLD_NOW | RTLD_GLOBAL)) {
    return {nullptr, fmt::format("this LibTorch has no CUDA half ({})", dlerror()), /*broken=*/true};
  }
  // LibTorch keeps what its first call found: no CUDA, if that came before the library.
  PB_CHECK(at::Context::hasCUDART(), "LibTorch's CUDA half was used before it was loaded, and cannot be used any more");
  const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libpixelbert_cuda.so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    return {nullptr, fmt::format("no CUDA plug-in: build with PIXELBERT_CUDA=ON ({})", dlerror()), /*broken=*/true};
  }
  const auto table = reinterpret_cast<decltype(&pixelbert_cuda_plugin)>(dlsym(library, "pixelbert_cuda_plugin"));
  if (!table) {
    return {nullptr, fmt::format("{} is no CUDA plug-in of this program ({})", path.string(), dlerror()),
            /*broken=*/true};
  }
  const CudaPlugin* plugin = table();
  if (plugin->device_count() == 0) return {plugin, "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES?)"};
  return {plugin, ""};
}

// A loaded library is a fact of the process, hence the static.
const LoadedPlugin& cuda_plugin() {
  static const LoadedPlugin loaded = load();
  return loaded;
}

// Returns why the ranks of this rank's host cannot use GPUs, if they cannot. `gpus` has each rank's choice.
std::string find_shared_gpu(const std::vector<std::string>& gpus, const std::vector<int>& host_of_rank, int rank) {
  std::set<std::string> distinct;
  std::size_t ranks = 0;
  for (std::size_t other = 0; other < gpus.size(); ++other) {
    if (host_of_rank[other] != host_of_rank[static_cast<std::size_t>(rank)]) continue;
    distinct.insert(gpus[other]);
    ++ranks;
  }
  if (distinct.size() == ranks) return "";
  return fmt::format("{} ranks for {} GPUs, and each rank needs its own: start at most {} on this host", ranks,
                     distinct.size(), distinct.size());
}

}  // namespace

torch::Device choose_device(Device wanted, const MpiSession& session, Communicator& control) {
  if (wanted == Device::Cpu) return torch::kCPU;
  const LoadedPlugin& cuda = cuda_plugin();
  const bool has_gpu = cuda.missing.empty();
  const int device = has_gpu ? session.local_rank() % cuda.plugin->device_count() : 0;
  const std::vector<std::string> gpus = gather_texts(has_gpu ? cuda.plugin->bus_id(device) : "", control);
  const std::string own = has_gpu ? find_shared_gpu(gpus, session.host_of_rank(), session.rank()) : cuda.missing;
  const std::vector<std::string> problems =
      gather_texts(own.empty() ? "" : fmt::format("{}: {}", session.host(), own), control);
  const auto problem = std::ranges::find_if(problems, [](const std::string& text) { return !text.empty(); });
  if (problem == problems.end()) {
    cuda.plugin->set_device(device);
    return {torch::kCUDA, static_cast<torch::DeviceIndex>(device)};
  }
  if (wanted == Device::Cuda) throw SharedError(fmt::format("--train.device cuda on {}", *problem));
  if (std::ranges::find(problems, "") != problems.end()) {
    throw SharedError(
        fmt::format("--train.device auto: other ranks have a GPU for themselves, but not on {}. Give "
                    "--train.device cpu, or leave this host out",
                    *problem));
  }
  const bool idle = std::ranges::any_of(gpus, [](const std::string& gpu) { return !gpu.empty(); });
  if (!idle && !cuda.broken) {
    log::info("using the CPU: {}", *problem);
  } else if (session.rank() == 0) {
    log::warn("using the CPU: {}", *problem);
  }
  return torch::kCPU;
}

std::unique_ptr<Communicator> make_control_communicator(const MpiSession& session, std::chrono::milliseconds patience) {
  if (session.world_size() == 1) return std::make_unique<SoloCommunicator>();
  return std::make_unique<MpiCommunicator>(session, MpiCommunicator::kPieceBytes, patience);
}

std::unique_ptr<Communicator> make_device_communicator(torch::Device device, const MpiSession& session,
                                                       Communicator& control, std::chrono::milliseconds patience) {
  if (session.world_size() == 1) return std::make_unique<SoloCommunicator>();
  if (device.is_cuda()) {
    return cuda_plugin().plugin->make_communicator(control, session.host_of_rank(), device.index(),
                                                   std::chrono::duration_cast<std::chrono::seconds>(patience));
  }
  return std::make_unique<MpiCommunicator>(session, MpiCommunicator::kPieceBytes, patience);
}

std::string device_name(torch::Device device) {
  return device.is_cuda() ? cuda_plugin().plugin->name(device.index()) : "cpu";
}

std::int64_t peak_device_bytes(torch::Device device) {
  return device.is_cuda() ? cuda_plugin().plugin->peak_bytes(device.index()) : 0;
}

NcclVersions nccl_versions() {
  return cuda_plugin().plugin->nccl_versions();
}

std::string cuda_version() {
  const LoadedPlugin& cuda = cuda_plugin();
  return cuda.missing.empty() ? cuda.plugin->describe() : "none: " + cuda.missing;
}

}  // namespace pixelbert::comm
