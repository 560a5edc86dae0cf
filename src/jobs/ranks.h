// The parts of every job on ranks: a device, communicators, a watchdog.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/make_communicator.h"
#include "comm/mpi_session.h"
#include "config/command_line.h"
#include "core/option.h"
#include "core/problems.h"
#include "model/autocast.h"
#include "watch/watchdog.h"

namespace pixelbert::jobs {

// Where and how the model runs, which changes rounding and nothing else. A resumed run keeps the precision and the
// memory order, so that its curve has no kink; the others follow the machine.
struct ComputeConfig {
  comm::Device device = comm::Device::Auto;
  model::Precision precision = model::Precision::Float32;
  bool channels_last = true;
  std::int64_t threads = 0;
  bool deterministic_algorithms = false;
};

template <class Field>
void describe(ComputeConfig& config, Field&& field) {
  field("train.device", config.device, "auto, cpu or cuda", OnResume::Free);
  field("train.precision", config.precision,
        "float32 or bf16 (autocast; weights stay float32), which becomes float32 on CPUs without AVX-512");
  field("train.channels-last", config.channels_last, "memory order of the CNN");
  field("train.threads", config.threads, "compute threads per rank; 0: OMP_NUM_THREADS, or a share of the host's cores",
        OnResume::Free);
  field("train.deterministic-algorithms", config.deterministic_algorithms,
        "on GPUs only operators that give the same bits each time; they can be slower", OnResume::Free);
}

inline void find_problems(const ComputeConfig& config, Problems& problems) {
  problems.between("train.threads", config.threads, 0, kMostThreads);
}

// Chooses among LibTorch's kernels for GPUs, for this process. Float32 is float32 in convolutions and products, without
// TF32. Call before the first operator on a GPU.
void choose_kernels(const ComputeConfig& config);

// Device, precision and communicators of this rank. The constructor is collective and also sets the compute threads.
class Ranks {
 public:
  Ranks(const ComputeConfig& config, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control);

  comm::Communicator& control() { return *control_; }
  comm::Communicator& tensors() { return device_communicator_ ? *device_communicator_ : *control_; }
  torch::Device device() const { return device_; }

  // The same on all ranks: float32 if the processor of one of them cannot do better (model::available).
  model::Precision precision() const { return precision_; }

 private:
  torch::Device device_;
  model::Precision precision_;
  std::unique_ptr<comm::Communicator> control_;
  std::unique_ptr<comm::Communicator> device_communicator_;  // only for CUDA; CPU tensors travel by `control_`
};

// Returns the watchdog's options in `arguments`; the watchdog starts before these can be parsed.
watch::WatchdogConfig early_watchdog(const config::Arguments& arguments);

// Collective. Runs the job with a watchdog, which also covers reading the configuration.
int watched(const config::Arguments& arguments, const comm::MpiSession& session, comm::Communicator& control,
            const std::function<int(watch::Watchdog&)>& job);

// Collective. Runs `work` on rank 0. If that throws UsageError, every rank throws it; for any other error, every rank
// throws SharedError.
void on_rank_0(comm::Communicator& control, const std::function<void()>& work);

// Call before the work whose result goes to the file of `option`. Throws UsageError if it cannot be written. An empty
// path is no file.
void check_output(const char* option, const std::string& path);

}  // namespace pixelbert::jobs
