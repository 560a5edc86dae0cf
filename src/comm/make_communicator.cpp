#include "comm/make_communicator.h"

#include <dlfcn.h>
#include <link.h>
#include <mpi.h>

#include <filesystem>

#include "comm/device_plugin.h"
#include "comm/mpi_check.h"
#include "comm/mpi_communicator.h"
#include "comm/solo_communicator.h"
#include "core/log.h"

namespace pixelbert::comm {
namespace {

struct LoadedPlugin {
  const CudaPlugin* plugin = nullptr;
  std::string missing;  // why there is no plug-in or no GPU; empty when CUDA can be used
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
    return {nullptr, fmt::format("this LibTorch has no CUDA half ({})", dlerror())};
  }
  const auto path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libpixelbert_cuda.so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return {nullptr, fmt::format("no CUDA plug-in: build with PIXELBERT_CUDA=ON ({})", dlerror())};
  const auto table = reinterpret_cast<decltype(&pixelbert_cuda_plugin)>(dlsym(library, "pixelbert_cuda_plugin"));
  if (!table) return {nullptr, fmt::format("{} is no CUDA plug-in of this program ({})", path.string(), dlerror())};
  const CudaPlugin* plugin = table();
  if (plugin->device_count() == 0) return {plugin, "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES?)"};
  return {plugin, ""};
}

// A loaded library is a fact of the process, hence the static.
const LoadedPlugin& cuda_plugin() {
  static const LoadedPlugin loaded = load();
  return loaded;
}

bool every_rank(bool condition) {
  int all = condition ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD));
  return all == 1;
}

bool any_rank(bool condition) {
  return !every_rank(!condition);
}

}  // namespace

torch::Device choose_device(Device wanted, const MpiSession& session) {
  if (wanted == Device::Cpu) return torch::kCPU;
  const LoadedPlugin& cuda = cuda_plugin();
  const bool usable = cuda.missing.empty();
  if (wanted == Device::Cuda) PB_CHECK(usable, "--train.device cuda on {}: {}", session.host(), cuda.missing);
  if (any_rank(usable)) {
    PB_CHECK(usable,
             "--train.device auto: other ranks have a GPU, {} has none: {}. Use --train.device cpu, or leave {} out",
             session.host(), cuda.missing, session.host());
    const int device = session.local_rank() % cuda.plugin->device_count();
    cuda.plugin->set_device(device);
    return {torch::kCUDA, static_cast<torch::DeviceIndex>(device)};
  }
  log::info("using the CPU: {}", cuda.missing);
  return torch::kCPU;
}

std::unique_ptr<Communicator> make_control_communicator(const MpiSession& session) {
  if (session.world_size() == 1) return std::make_unique<SoloCommunicator>();
  return std::make_unique<MpiCommunicator>(session);
}

std::unique_ptr<Communicator> make_device_communicator(torch::Device device, const MpiSession& session,
                                                       Communicator& control) {
  if (session.world_size() == 1) return std::make_unique<SoloCommunicator>();
  if (device.is_cuda()) return cuda_plugin().plugin->make_communicator(control, session.host_of_rank(), device.index());
  return std::make_unique<MpiCommunicator>(session);
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
