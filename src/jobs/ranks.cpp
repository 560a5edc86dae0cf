#include "jobs/ranks.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>

#include <cstdlib>
#include <optional>

#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/cores.h"
#include "core/files.h"
#include "core/log.h"
#include "core/message.h"
#include "jobs/same_job.h"

namespace pixelbert::jobs {
namespace {

// Collective.
model::Precision precision_of_all(model::Precision asked, torch::Device device, comm::Communicator& control) {
  const torch::Tensor have = at::full({1}, static_cast<std::int64_t>(model::available(asked, device) == asked));
  control.all_reduce(have, comm::ReduceOp::Min)->wait();
  if (have.item<std::int64_t>() != 0) return asked;
  if (control.rank() == 0) {
    log::warn(
        "--train.precision bf16: LibTorch multiplies bfloat16 slowly on a processor of this job (on x86 it needs "
        "AVX-512), so all ranks compute in float32");
  }
  return model::Precision::Float32;
}

}  // namespace

void choose_kernels(const ComputeConfig& config) {
  at::Context& context = at::globalContext();
  // LibTorch prefers cuDNN's attention on Hopper. It rounds dropout's probability to a multiple of 1/16, which 2.11
  // does not check (pytorch#174245), its gradient may be NaN where a row is masked (pytorch#196678), and it needs
  // seconds for each new length of text.
  context.setSDPUseCuDNN(false);
  context.setAllowTF32CuDNN(false);
  context.setAllowTF32CuBLAS(false);
  if (!config.deterministic_algorithms) return;
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // cuBLAS may add in any order without it
  context.setDeterministicCuDNN(true);
  // An operator without such an algorithm throws. If it only warned, attention's backward would not choose its own.
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
}

Ranks::Ranks(const ComputeConfig& config, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control)
    : device_(comm::choose_device(config.device, session, *control)),
      precision_(precision_of_all(config.precision, device_, *control)),
      control_(std::move(control)) {
  at::set_num_threads(config.threads > 0 ? static_cast<int>(config.threads) : compute_threads(session.local_size()));
  if (!device_.is_cuda()) return;
  choose_kernels(config);
  if (session.world_size() > 1) activity::waiting(activity::Wait::Start, "NCCL, which connects the GPUs");
  device_communicator_ = comm::make_device_communicator(device_, session, *control_);
  activity::doing(activity::Phase::Start, "the ranks have their devices");
}

watch::WatchdogConfig early_watchdog(const config::Arguments& arguments) {
  watch::WatchdogConfig config;
  const std::optional<double> seconds = config::early_number(arguments, "watchdog.seconds");
  if (seconds && *seconds >= 0) config.seconds = *seconds;  // parsing reports what is wrong with any other value
  return config;
}

int watched(const config::Arguments& arguments, const comm::MpiSession& session, comm::Communicator& control,
            const std::function<int(watch::Watchdog&)>& job) {
  const watch::WatchdogConfig config = early_watchdog(arguments);
  check_same_job({{"--watchdog.seconds", fmt::to_string(config.seconds)}}, session.host(), control);
  watch::Watchdog watchdog(config, {session.rank(), session.world_size(), session.host()},
                           [&](const std::string& text) { return comm::broadcast_text(text, control); });
  activity::doing(activity::Phase::Start, "reading the options");
  try {
    return job(watchdog);
  } catch (const UsageError&) {
    throw;  // all ranks throw it, or main() ends the job
  } catch (const std::exception& error) {
    watchdog.failed(message_of(error));
    throw;
  }
}

void on_rank_0(comm::Communicator& control, const std::function<void()>& work) {
  std::string usage, error;
  if (control.rank() == 0) {
    try {
      work();
    } catch (const UsageError& refused) {
      usage = refused.what();
    } catch (const std::exception& failed) {
      error = message_of(failed);
    }
  }
  usage = comm::broadcast_text(usage, control);
  error = comm::broadcast_text(error, control);
  if (!usage.empty()) throw UsageError(usage);
  if (!error.empty()) throw SharedError(error);
}

void check_output(const char* option, const std::string& path) {
  if (path.empty()) return;
  try {
    check_can_write(path);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--{}: {}", option, error.what()));
  }
}

}  // namespace pixelbert::jobs
