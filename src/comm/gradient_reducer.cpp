#include "comm/gradient_reducer.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

#include "comm/buckets.h"
#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::comm {
namespace {

// Gradients start at multiples of 64 bytes (float32), so that vector loads of the optimizer stay aligned.
constexpr std::int64_t kAlignment = 16;

std::int64_t padded_size(const torch::Tensor& parameter) {
  return (parameter.numel() + kAlignment - 1) / kAlignment * kAlignment;
}

// Returns the part of `flat` for this parameter, in the parameter's own memory order, so that gradient accumulation and
// the fused optimizers can walk both in the same order.
torch::Tensor gradient_view(const torch::Tensor& flat, std::int64_t offset, const torch::Tensor& parameter) {
  if (parameter.is_non_overlapping_and_dense()) {
    return flat.as_strided(parameter.sizes(), parameter.strides(), offset);
  }
  return flat.narrow(0, offset, parameter.numel()).view(parameter.sizes());
}

std::vector<torch::Tensor> trained(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> result;
  for (const torch::Tensor& parameter : parameters) {
    if (parameter.requires_grad()) result.push_back(parameter);
  }
  for (const torch::Tensor& parameter : result) {
    PB_CHECK(parameter.scalar_type() == result[0].scalar_type() && parameter.device() == result[0].device(),
             "gradient reducer: expected all parameters to be {} on {}, found one of shape {} that is {} on {}",
             c10::toString(result[0].scalar_type()), result[0].device().str(), c10::str(parameter.sizes()),
             c10::toString(parameter.scalar_type()), parameter.device().str());
  }
  return result;
}

}  // namespace

struct GradientReducer::Bucket {
  torch::Tensor flat;               // backward accumulates here
  std::vector<torch::Tensor> kept;  // sums of earlier micro-batches, from left to right
  std::vector<torch::Tensor> spare;
  std::size_t size = 0;     // parameters in it
  std::size_t missing = 0;  // those without a gradient from the armed backward so far
  std::unique_ptr<Work> scattering, gathering;
};

struct GradientReducer::Slot {
  torch::Tensor parameter;
  std::size_t bucket = 0;
  std::int64_t offset = 0;  // of its gradient in the bucket
  bool ready = false;
};

// Runs each time a backward has added to the parameter's gradient; once per backward, also for a parameter used twice.
struct GradientReducer::ReadyHook final : torch::autograd::PostAccumulateGradHook {
  ReadyHook(GradientReducer& reducer, std::size_t slot) : reducer(reducer), slot(slot) {}
  void operator()(const torch::Tensor&) override { reducer.on_gradient(slot); }

  GradientReducer& reducer;
  std::size_t slot;
};

GradientReducer::GradientReducer(std::vector<torch::Tensor> parameters, Communicator& communicator,
                                 std::int64_t bucket_bytes)
    : communicator_(communicator) {
  parameters = trained(parameters);
  std::vector<std::int64_t> bytes;
  for (const torch::Tensor& parameter : parameters) bytes.push_back(padded_size(parameter) * parameter.element_size());

  for (const std::vector<std::size_t>& members : plan_buckets(bytes, bucket_bytes)) {
    std::int64_t size = 0;
    for (const std::size_t member : members) size += padded_size(parameters[member]);
    Bucket bucket;
    bucket.flat = torch::zeros({size}, parameters[0].options().requires_grad(false));
    bucket.size = members.size();
    std::int64_t offset = 0;
    for (const std::size_t member : members) {
      torch::Tensor& parameter = parameters[member];
      PB_CHECK(!torch::autograd::impl::post_acc_grad_hooks(parameter),
               "gradient reducer: expected each parameter once, found one of shape {} twice, or in another reducer",
               c10::str(parameter.sizes()));
      slots_.push_back({.parameter = parameter, .bucket = buckets_.size(), .offset = offset});
      parameter.mutable_grad() = gradient_view(bucket.flat, offset, parameter);
      torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::make_unique<ReadyHook>(*this, slots_.size() - 1));
      offset += padded_size(parameter);
    }
    buckets_.push_back(std::move(bucket));
  }
}

GradientReducer::~GradientReducer() {
  for (const Slot& slot : slots_) torch::autograd::impl::set_post_acc_grad_hooks(slot.parameter, nullptr);
}

void GradientReducer::zero_grad() {
  for (Bucket& bucket : buckets_) {
    bucket.flat.zero_();
    for (torch::Tensor& kept : bucket.kept) bucket.spare.push_back(std::move(kept));
    bucket.kept.clear();
  }
  nodes_.clear();
}

void GradientReducer::begin_step(SumTree tree) {
  const std::lock_guard lock(mutex_);
  PB_CHECK(tree.ranks() == communicator_.world_size(), "GradientReducer: expected a tree of {} ranks, found one of {}",
           communicator_.world_size(), tree.ranks());
  zero_grad();
  next_leaf_ = tree.first_leaf(communicator_.rank());
  tree_ = std::move(tree);
  last_siblings_ = 0;
  armed_ = false;
}

void GradientReducer::begin_micro_batch(std::int64_t index) {
  const std::lock_guard lock(mutex_);
  const std::int64_t end = tree_ ? tree_->end_leaf(communicator_.rank()) : 0;
  PB_CHECK(tree_ && index == next_leaf_ && index < end,
           "GradientReducer: expected micro-batch {} of this rank's, which end before {}, found {}", next_leaf_, end,
           index);
  for (; nodes_.size() > 1 && tree_->siblings(nodes_.end()[-2], nodes_.back()); nodes_.pop_back()) {
    for (Bucket& bucket : buckets_) add_sibling(bucket);
    nodes_.end()[-2] = tree_->parent(nodes_.back());
  }
  const Node leaf = tree_->leaf(index);
  if (!nodes_.empty() && tree_->siblings(nodes_.back(), leaf)) {
    nodes_.back() = tree_->parent(leaf);  // backward itself adds the leaf to its sibling
  } else {
    if (!nodes_.empty()) take_new_memory();
    nodes_.push_back(leaf);
  }

  armed_ = ++next_leaf_ == end;
  if (!armed_) return;
  last_siblings_ = std::ssize(nodes_) - std::ssize(tree_->merge(nodes_).nodes);
  for (Slot& slot : slots_) slot.ready = false;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.size;
}

void GradientReducer::take_new_memory() {
  for (const Slot& slot : slots_) check_still_view(slot);
  for (Bucket& bucket : buckets_) {
    bucket.kept.push_back(bucket.flat);
    if (bucket.spare.empty()) {
      bucket.flat = torch::zeros_like(bucket.flat);
    } else {
      bucket.flat = std::move(bucket.spare.back()).zero_();
      bucket.spare.pop_back();
    }
  }
  for (Slot& slot : slots_) {
    slot.parameter.mutable_grad() = gradient_view(buckets_[slot.bucket].flat, slot.offset, slot.parameter);
  }
}

// Adds the kept sum at the left of the gradients to them.
void GradientReducer::add_sibling(Bucket& bucket) {
  const torch::NoGradGuard no_grad;
  bucket.flat.add_(bucket.kept.back());
  bucket.spare.push_back(std::move(bucket.kept.back()));
  bucket.kept.pop_back();
}

void GradientReducer::on_gradient(std::size_t index) {
  const std::lock_guard lock(mutex_);
  if (!armed_) return;
  Slot& slot = slots_[index];
  check_still_view(slot);
  PB_CHECK(!slot.ready,
           "GradientReducer: a second backward after the rank's last micro-batch, when sums may have started");
  slot.ready = true;
  --buckets_[slot.bucket].missing;
  while (next_to_start_ < buckets_.size() && buckets_[next_to_start_].missing == 0) start(buckets_[next_to_start_++]);
}

void GradientReducer::finish() {
  const std::lock_guard lock(mutex_);
  PB_CHECK(tree_ && next_leaf_ == tree_->end_leaf(communicator_.rank()),
           "GradientReducer: finish() was called before this rank's last micro-batch of the step");
  for (const Slot& slot : slots_) check_still_view(slot);
  while (next_to_start_ < buckets_.size()) start(buckets_[next_to_start_++]);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    activity::waiting(activity::Wait::Gradients, fmt::format("gradients, bucket {} of {}", i + 1, buckets_.size()));
    std::exchange(buckets_[i].scattering, nullptr)->wait();
    std::exchange(buckets_[i].gathering, nullptr)->wait();
  }
  next_to_start_ = 0;
  armed_ = false;
  tree_.reset();
}

void GradientReducer::start(Bucket& bucket) {
  for (std::int64_t i = 0; i < last_siblings_; ++i) add_sibling(bucket);
  std::vector<torch::Tensor> own = bucket.kept;
  if (!nodes_.empty()) own.push_back(bucket.flat);
  bucket.scattering = communicator_.reduce_scatter(*tree_, std::move(own), bucket.flat);
  bucket.gathering = communicator_.all_gather(bucket.flat);
  if (communicator_.world_size() > 1) reduced_bytes_ += static_cast<std::int64_t>(bucket.flat.nbytes());
}

void GradientReducer::check_still_view(const Slot& slot) const {
  const torch::Tensor& gradient = slot.parameter.grad();
  const torch::Tensor& flat = buckets_[slot.bucket].flat;
  PB_CHECK(
      gradient.defined() && gradient.is_alias_of(flat) && gradient.storage_offset() == slot.offset,
      "GradientReducer: expected the gradient of a parameter of shape {} to be a view of its bucket, found {}: zero "
      "gradients with the GradientReducer, not with the optimizer or the module",
      c10::str(slot.parameter.sizes()), gradient.defined() ? "another tensor" : "none");
}

}  // namespace pixelbert::comm
