// Sums gradients over ranks while backward is still running.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "comm/communicator.h"
#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::comm {

struct ReducerConfig {
  std::int64_t bucket_mib = 25;  // PyTorch's DDP default
  std::int64_t bucket_bytes() const { return bucket_mib << 20; }
};

template <class Field>
void describe(ReducerConfig& config, Field&& field) {
  field("comm.bucket-mib", config.bucket_mib, "gradients that travel together", OnResume::Free);
}

inline void find_problems(const ReducerConfig& config, Problems& problems) {
  problems.between("comm.bucket-mib", config.bucket_mib, 1, 1 << 20);
}

class GradientReducer {
 public:
  // `parameters`: in the order the model registers them (backward finishes them roughly last first). Their gradients
  // become views of flat buckets of at most `bucket_bytes` each and must stay so: zero them with zero_grad() only.
  // Frozen ones (without requires_grad) are left out. All trained ones share one type and device, and every rank passes
  // the same list. The communicator outlives the reducer; the parameters may outlive both.
  GradientReducer(std::vector<torch::Tensor> parameters, Communicator& communicator, std::int64_t bucket_bytes);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Before the first backward of a step.
  void zero_grad();

  // The next backward is the last of this step: each bucket starts as soon as it is full and those before it have
  // started. Buckets always start in the same order, so ranks whose gradients become ready in another order still make
  // the same calls. Backwards before this only accumulate locally; a second one after it is an Error.
  void arm();

  // Reduces what never filled (a parameter that took no part counts as zero), waits for all, and leaves the sum over
  // ranks in every parameter's grad. Every rank calls this once per step, even a rank without a micro-batch, which then
  // has not called arm().
  void finish();

  // What this rank has given to other ranks since construction; 0 in a job of one rank.
  std::int64_t reduced_bytes() const { return reduced_bytes_; }

 private:
  struct Bucket;
  struct Slot;
  struct ReadyHook;
  void on_gradient(std::size_t slot);
  void check_still_view(const Slot& slot) const;
  void start(Bucket& bucket);

  Communicator& communicator_;
  std::vector<Slot> slots_;      // one per parameter that is trained
  std::vector<Bucket> buckets_;  // in the order they start
  std::mutex mutex_;             // autograd runs the hooks of CUDA parameters on a thread of its own
  std::size_t next_to_start_ = 0;
  bool armed_ = false;
  std::int64_t reduced_bytes_ = 0;
};

}  // namespace pixelbert::comm
