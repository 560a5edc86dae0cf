// Sums gradients along the fixed tree (comm/sum_tree.h) over micro-batches and ranks while backward is still running.
// Each rank gets a slice of the sums, updates its slice of the weights, and gives the new weights to the others: the
// state of the optimizer is divided among the ranks, and so is its work (ZeRO-2: Rajbhandari et al. 2020).
//
// One step (train/train_loop.cpp):
//   begin_step(tree)
//   for each micro-batch of this rank: begin_micro_batch(index), then one backward
//   finish()           leaves the sums in the grads of this rank's pieces
//   gradient_norm()    the same bits on every rank
//   update the pieces
//   gather_weights()   every rank has all weights
//
// A bucket holds the gradients of several parameters, which are sent together. A piece is what this rank updates of one
// parameter. All pieces of a rank are its slice.
#pragma once

#include <torch/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "comm/sum_tree.h"
#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::comm {

struct ReducerConfig {
  std::int64_t bucket_mib = 25;  // PyTorch's DDP default
  std::int64_t bucket_bytes() const { return bucket_mib << 20; }
};

template <class Field>
void describe(ReducerConfig& config, Field&& field) {
  field("comm.bucket-mib", config.bucket_mib, "size of a bucket of gradients, which are reduced together",
        OnResume::Free);
}

inline void find_problems(const ReducerConfig& config, Problems& problems) {
  problems.between("comm.bucket-mib", config.bucket_mib, 1, 1 << 20);
}

// Elements of one parameter that this rank updates, in the parameter's memory order.
struct Piece {
  std::size_t parameter = 0;  // in the list given to the reducer
  Range elements;
  torch::Tensor weights;  // of one dimension, in the parameter's memory; after finish(), grad() is the sum
};

// Returns the bytes of each bucket that a reducer of these parameters makes, in the order in which they are reduced.
std::vector<std::int64_t> bucket_sizes(const std::vector<torch::Tensor>& parameters, std::int64_t bucket_bytes);

class GradientReducer {
 public:
  // `parameters` are in the order the model registers them (backward finishes them roughly last first). Weights and
  // gradients become views of flat buckets of at most `bucket_bytes` each and must stay so: zero gradients with the
  // reducer only, and take the weights' storage (to save or to restore them) afterwards. Leaves out frozen parameters
  // (without requires_grad). All trained ones must be without gaps and have one type and device, and every rank must
  // pass the same list. The communicator must outlive the reducer; the parameters may outlive both.
  GradientReducer(std::vector<torch::Tensor> parameters, Communicator& communicator, std::int64_t bucket_bytes);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Drops the gradients. Backwards then accumulate here, and nothing is reduced until begin_step().
  void zero_grad();

  // Begins a step: drops the gradients. Leaf i of the tree is the gradient of the step's micro-batch i.
  void begin_step(SumTree tree);

  // Call before the backward of each of this rank's micro-batches, in their order. Up to two of them accumulate in the
  // same memory; then the gradients get new memory whenever the tree must keep a sum apart, once for each doubling of
  // the rank's micro-batches (SumTree::most_values). Each may have one backward.
  //
  // In the last backward each bucket starts as soon as it is full and those before it have started. Buckets always
  // start in the same order, so ranks whose gradients become ready in another order still make the same calls.
  void begin_micro_batch(std::int64_t index);

  // Collective, once per step. Reduces the buckets that never filled (an unused parameter counts as zero), waits for
  // all, and leaves the sum over all micro-batches in the grad of every piece; the rest of the parameters' grads means
  // nothing then. Also a rank without a micro-batch must call it.
  void finish();

  // When the last backward of the step filled each bucket, in the order in which they are reduced: nothing for a bucket
  // that finish() had to complete. Of a GPU it is when the host had put the operators on the stream.
  using FullAt = std::optional<std::chrono::steady_clock::time_point>;
  std::vector<FullAt> full_at() const;

  // The slice of this rank: each trained element is in a piece of exactly one rank.
  const std::vector<Piece>& pieces() const { return pieces_; }

  // Returns the elements of a parameter that `rank` updates; none if it is frozen.
  Range elements_of(std::size_t parameter, int rank) const;

  // Collective, after finish(). Returns the norm of the sums over all weights, float64 [] on their device: the same
  // bits on every rank, at any number of ranks and threads, so that all ranks decide alike. `veto`, float32 [] on the
  // same device, is 0, or NaN on a rank that has another reason to leave the step out: then the norm is NaN on all
  // ranks.
  torch::Tensor gradient_norm(const torch::Tensor& veto = {});

  // Collective, after the update of the pieces. Gives every rank the weights of the others.
  void gather_weights();

  // Returns whether all gradients that this rank has accumulated since zero_grad() are finite. Waits for the device.
  bool finite();

  // Bytes that this rank has passed to reductions since construction; 0 in a job of one rank.
  std::int64_t reduced_bytes() const { return reduced_bytes_; }

 private:
  struct Bucket;
  struct Slot;
  struct ReadyHook;
  struct Step {
    SumTree tree;
    std::int64_t next_leaf = 0;
    std::vector<Node> nodes;      // that this rank has added up so far; the gradients hold the last one
    std::ptrdiff_t siblings = 0;  // kept sums to which the micro-batch's gradient is added
    std::size_t next_to_start = 0;
    bool armed = false;  // the next backward is the rank's last one of the step
    bool finished = false;
  };
  void on_gradient(std::size_t slot);
  void check_still_view(const Slot& slot) const;
  const Slot* slot_of(std::size_t parameter) const;  // null if it is frozen
  void take_pieces();
  void begin();
  void expect_fresh();
  void take_fresh(Slot& slot);
  void complete_leaf();
  void take_new_memory();
  void add_siblings(const Slot& slot);
  void drop_siblings(Bucket& bucket);
  void start(Bucket& bucket);

  Communicator& communicator_;
  std::vector<Slot> slots_;      // one per parameter that is trained
  std::vector<Bucket> buckets_;  // in the order they start
  std::vector<Piece> pieces_;
  mutable std::mutex mutex_;  // autograd runs the hooks of CUDA parameters on a thread of its own
  std::optional<Step> step_;  // from begin_step() to the next one or to zero_grad()
  std::int64_t reduced_bytes_ = 0;
};

}  // namespace pixelbert::comm
