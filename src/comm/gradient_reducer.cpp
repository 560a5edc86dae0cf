#include "comm/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "comm/buckets.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/free_memory.h"

namespace pixelbert::comm {
namespace {

// Parameters begin with a cell, so that cells are the same whatever the size of buckets and the number of ranks.
std::int64_t padded_size(const torch::Tensor& parameter) {
  return (parameter.numel() + kCell - 1) / kCell * kCell;
}

// Returns the part of `flat` for this parameter, in the parameter's own memory order, so that gradient accumulation and
// the fused optimizers can walk both in the same order.
torch::Tensor view_of(const torch::Tensor& flat, std::int64_t offset, const torch::Tensor& parameter) {
  return flat.as_strided(parameter.sizes(), parameter.strides(), offset);
}

// The norm of each cell of a bucket, for cells [begin, end). One thread adds up a cell, in float32: combined in double,
// this is more accurate than summing whole embeddings. CUDA chooses how it adds up a cell by the number of cells, but
// not from 16 on, so the norms of some neighbours are computed as well.
torch::Tensor norms_of_cells(const torch::Tensor& flat, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kFewest = 16;
  const torch::Tensor cells = flat.view({-1, kCell});
  const std::int64_t first = std::clamp<std::int64_t>(cells.size(0) - kFewest, 0, begin);
  const std::int64_t last = std::min(std::max(end, first + kFewest), cells.size(0));
  return at::linalg_vector_norm(cells.slice(0, first, last), 2, {1}).slice(0, begin - first, end - first);
}

// Returns the places of the parameters that are trained.
std::vector<std::size_t> trained(const std::vector<torch::Tensor>& parameters) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].requires_grad()) result.push_back(i);
  }
  for (const std::size_t i : result) {
    const torch::Tensor &parameter = parameters[i], &first = parameters[result[0]];
    PB_CHECK(parameter.scalar_type() == first.scalar_type() && parameter.device() == first.device(),
             "gradient reducer: expected all parameters to be {} on {}, found one of shape {} that is {} on {}",
             c10::toString(first.scalar_type()), first.device().str(), c10::str(parameter.sizes()),
             c10::toString(parameter.scalar_type()), parameter.device().str());
    PB_CHECK(parameter.is_non_overlapping_and_dense(),
             "gradient reducer: expected parameters without gaps, found one of shape {} with strides {}",
             c10::str(parameter.sizes()), c10::str(parameter.strides()));
  }
  return result;
}

// Returns the members of each bucket, as positions in `places`.
std::vector<std::vector<std::size_t>> members_of_buckets(const std::vector<torch::Tensor>& parameters,
                                                         const std::vector<std::size_t>& places,
                                                         std::int64_t bucket_bytes) {
  std::vector<std::int64_t> bytes;
  for (const std::size_t i : places) bytes.push_back(padded_size(parameters[i]) * parameters[i].element_size());
  return plan_buckets(bytes, bucket_bytes);
}

}  // namespace

std::vector<std::int64_t> bucket_sizes(const std::vector<torch::Tensor>& parameters, std::int64_t bucket_bytes) {
  const std::vector<std::size_t> places = trained(parameters);
  std::vector<std::int64_t> sizes;
  for (const std::vector<std::size_t>& members : members_of_buckets(parameters, places, bucket_bytes)) {
    std::int64_t size = 0;
    for (const std::size_t member : members) {
      const torch::Tensor& parameter = parameters[places[member]];
      size += padded_size(parameter) * parameter.element_size();
    }
    sizes.push_back(size);
  }
  return sizes;
}

struct GradientReducer::Bucket {
  torch::Tensor weights;
  torch::Tensor flat;               // backward accumulates here
  std::vector<torch::Tensor> kept;  // sums of earlier micro-batches, from left to right
  std::vector<torch::Tensor> spare;
  std::size_t size = 0;     // parameters in it
  std::size_t missing = 0;  // those without a gradient from the micro-batch so far
  FullAt full_at;
  std::unique_ptr<Work> moving;
};

struct GradientReducer::Slot {
  torch::Tensor parameter;
  std::size_t index = 0;  // of the parameter in the list of all
  std::size_t bucket = 0;
  std::int64_t offset = 0;  // in the bucket
  bool ready = false;
  bool fresh = true;  // no backward has written to its part of the bucket, which means nothing yet
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
  const std::vector<std::size_t> places = trained(parameters);
  for (const std::vector<std::size_t>& members : members_of_buckets(parameters, places, bucket_bytes)) {
    std::int64_t size = 0;
    for (const std::size_t member : members) size += padded_size(parameters[places[member]]);
    Bucket bucket;
    bucket.weights = torch::zeros({size}, parameters[places[0]].options().requires_grad(false));
    bucket.size = members.size();
    std::int64_t offset = 0;
    for (const std::size_t member : members) {
      const std::size_t index = places[member];
      torch::Tensor& parameter = parameters[index];
      PB_CHECK(!torch::autograd::impl::post_acc_grad_hooks(parameter),
               "gradient reducer: expected each parameter once, found one of shape {} twice, or in another reducer",
               c10::str(parameter.sizes()));
      slots_.push_back({.parameter = parameter, .index = index, .bucket = buckets_.size(), .offset = offset});
      torch::Tensor weights = view_of(bucket.weights, offset, parameter);
      weights.copy_(parameter.detach());
      parameter.set_data(weights);
      torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::make_unique<ReadyHook>(*this, slots_.size() - 1));
      offset += padded_size(parameter);
    }
    buckets_.push_back(std::move(bucket));
  }
  release_free_memory();  // that the weights have left
  for (Bucket& bucket : buckets_) bucket.flat = torch::zeros_like(bucket.weights);
  expect_fresh();
  take_pieces();
}

GradientReducer::~GradientReducer() {
  for (const Slot& slot : slots_) torch::autograd::impl::set_post_acc_grad_hooks(slot.parameter, nullptr);
}

const GradientReducer::Slot* GradientReducer::slot_of(std::size_t parameter) const {
  const auto found = std::ranges::find(slots_, parameter, &Slot::index);
  return found == slots_.end() ? nullptr : &*found;
}

Range GradientReducer::elements_of(std::size_t parameter, int rank) const {
  const Slot* const slot = slot_of(parameter);
  if (!slot) return {};
  const Range slice = communicator_.slice(buckets_[slot->bucket].flat.numel(), rank);
  const auto element = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at - slot->offset, 0, slot->parameter.numel());
  };
  return {element(slice.begin), element(slice.end)};
}

void GradientReducer::take_pieces() {
  for (const Slot& slot : slots_) {
    const Range elements = elements_of(slot.index, communicator_.rank());
    if (elements.size() == 0) continue;
    const torch::Tensor weights =
        buckets_[slot.bucket].weights.narrow(0, slot.offset + elements.begin, elements.size());
    pieces_.push_back({.parameter = slot.index, .elements = elements, .weights = weights});
  }
  std::ranges::sort(pieces_, {}, &Piece::parameter);
}

// A parameter without a gradient gets that of the next backward as it is, and on_gradient() moves it into the bucket.
// To zero the buckets and let backward add to them would write and read all of their memory once more.
void GradientReducer::expect_fresh() {
  for (Slot& slot : slots_) {
    slot.parameter.mutable_grad().reset();
    slot.fresh = true;
  }
}

void GradientReducer::take_fresh(Slot& slot) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor gradient = slot.parameter.grad();
  const torch::Tensor view = view_of(buckets_[slot.bucket].flat, slot.offset, slot.parameter);
  if (!gradient.defined()) {
    view.zero_();
  } else if (gradient.is_sparse()) {
    view.zero_().add_(gradient);
  } else {
    view.copy_(gradient);
  }
  slot.parameter.mutable_grad() = view;
  slot.fresh = false;
}

// The sums that the micro-batch completes, for one parameter: what backward has just written is still in the cache.
void GradientReducer::add_siblings(const Slot& slot) {
  const torch::NoGradGuard no_grad;
  const Bucket& bucket = buckets_[slot.bucket];
  const auto part = [&](const torch::Tensor& flat) { return flat.narrow(0, slot.offset, slot.parameter.numel()); };
  for (std::ptrdiff_t i = 1; i <= step_->siblings; ++i) part(bucket.flat).add_(part(bucket.kept.end()[-i]));
}

// A parameter that a micro-batch does not use has zeros as its gradient. They are added to the sibling's, too: -0 + 0
// is 0, as it is where the two are on different ranks.
void GradientReducer::complete_leaf() {
  const torch::NoGradGuard no_grad;
  for (Slot& slot : slots_) {
    const bool has_sibling = !slot.fresh;
    if (slot.fresh) take_fresh(slot);
    if (!step_ || step_->nodes.empty() || std::exchange(slot.ready, true)) continue;
    if (has_sibling) slot.parameter.mutable_grad().add_(0);
    add_siblings(slot);
  }
}

// Gives back the memory of sums that add_siblings() has added.
void GradientReducer::drop_siblings(Bucket& bucket) {
  for (std::ptrdiff_t i = 0; i < step_->siblings; ++i) {
    bucket.spare.push_back(std::move(bucket.kept.back()));
    bucket.kept.pop_back();
  }
}

void GradientReducer::begin() {
  for (Bucket& bucket : buckets_) {
    for (torch::Tensor& kept : bucket.kept) bucket.spare.push_back(std::move(kept));
    bucket.kept.clear();
  }
  step_.reset();
  expect_fresh();
}

void GradientReducer::zero_grad() {
  const std::lock_guard lock(mutex_);
  begin();
}

void GradientReducer::begin_step(SumTree tree) {
  const std::lock_guard lock(mutex_);
  PB_CHECK(tree.ranks() == communicator_.world_size(), "GradientReducer: expected a tree of {} ranks, found one of {}",
           communicator_.world_size(), tree.ranks());
  begin();
  const std::int64_t first = tree.first_leaf(communicator_.rank());
  step_.emplace(Step{.tree = std::move(tree), .next_leaf = first, .nodes = {}});
  for (Bucket& bucket : buckets_) bucket.full_at.reset();
}

void GradientReducer::begin_micro_batch(std::int64_t index) {
  const std::lock_guard lock(mutex_);
  const std::int64_t next = step_ ? step_->next_leaf : 0, end = step_ ? step_->tree.end_leaf(communicator_.rank()) : 0;
  PB_CHECK(index == next && index < end,
           "GradientReducer: expected micro-batch {} of this rank's, which end before {}, found {}", next, end, index);
  const SumTree& tree = step_->tree;
  std::vector<Node>& nodes = step_->nodes;
  if (!nodes.empty()) {
    complete_leaf();
    for (Bucket& bucket : buckets_) drop_siblings(bucket);
    nodes = tree.merge(nodes).nodes;
  }
  const Node leaf = tree.leaf(index);
  if (!nodes.empty() && tree.siblings(nodes.back(), leaf)) {
    nodes.back() = tree.parent(leaf);  // backward itself adds the leaf to its sibling
  } else {
    if (!nodes.empty()) take_new_memory();
    nodes.push_back(leaf);
  }

  step_->siblings = std::ssize(nodes) - std::ssize(tree.merge(nodes).nodes);
  step_->armed = ++step_->next_leaf == end;
  for (Slot& slot : slots_) slot.ready = false;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.size;
}

void GradientReducer::take_new_memory() {
  for (const Slot& slot : slots_) check_still_view(slot);
  for (Bucket& bucket : buckets_) {
    bucket.kept.push_back(bucket.flat);
    if (bucket.spare.empty()) {
      bucket.flat = torch::zeros_like(bucket.flat);  // also between the parameters, where the norm reads
    } else {
      bucket.flat = std::move(bucket.spare.back());
      bucket.spare.pop_back();
    }
  }
  expect_fresh();
}

void GradientReducer::on_gradient(std::size_t index) {
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_[index];
  if (slot.fresh) take_fresh(slot);
  if (!step_ || step_->nodes.empty()) return;  // no step
  check_still_view(slot);
  PB_CHECK(!std::exchange(slot.ready, true), "GradientReducer: a second backward for one micro-batch");
  add_siblings(slot);
  if (!step_->armed) return;
  Bucket& bucket = buckets_[slot.bucket];
  if (--bucket.missing == 0) bucket.full_at = std::chrono::steady_clock::now();
  std::size_t& next = step_->next_to_start;
  while (next < buckets_.size() && buckets_[next].missing == 0) start(buckets_[next++]);
}

void GradientReducer::finish() {
  const std::lock_guard lock(mutex_);
  PB_CHECK(step_ && !step_->finished && step_->next_leaf == step_->tree.end_leaf(communicator_.rank()),
           "GradientReducer: finish() was called before this rank's last micro-batch of the step");
  complete_leaf();
  for (const Slot& slot : slots_) check_still_view(slot);
  while (step_->next_to_start < buckets_.size()) start(buckets_[step_->next_to_start++]);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    activity::waiting(activity::Wait::Gradients, fmt::format("gradients, bucket {} of {}", i + 1, buckets_.size()));
    std::exchange(buckets_[i].moving, nullptr)->wait();
  }
  for (Piece& piece : pieces_) {
    const Slot& slot = *slot_of(piece.parameter);
    const torch::Tensor& flat = buckets_[slot.bucket].flat;
    piece.weights.mutable_grad() = flat.narrow(0, slot.offset + piece.elements.begin, piece.elements.size());
  }
  step_->finished = true;
}

std::vector<GradientReducer::FullAt> GradientReducer::full_at() const {
  const std::lock_guard lock(mutex_);
  std::vector<FullAt> times;
  for (const Bucket& bucket : buckets_) times.push_back(bucket.full_at);
  return times;
}

torch::Tensor GradientReducer::gradient_norm(const torch::Tensor& veto) {
  const torch::NoGradGuard no_grad;
  std::int64_t cells = 0;
  for (const Bucket& bucket : buckets_) cells += bucket.flat.numel() / kCell;
  PB_CHECK(cells > 0, "GradientReducer: no parameter is trained, so there is no gradient");
  // Whole cells of cells, with a place for `veto` behind them. Buckets keep the order of the parameters, so a cell has
  // its place whatever their size.
  const torch::Tensor norms = at::zeros({(cells + 1 + kCell - 1) / kCell, kCell}, buckets_[0].flat.options());
  if (veto.defined()) norms.view(-1)[cells].copy_(veto);
  std::int64_t first = 0;
  for (const Bucket& bucket : buckets_) {
    const Range slice = communicator_.slice(bucket.flat.numel(), communicator_.rank());
    const std::int64_t begin = slice.begin / kCell, end = slice.end / kCell;
    if (begin < end) norms.view(-1).slice(0, first + begin, first + end).copy_(norms_of_cells(bucket.flat, begin, end));
    first += bucket.flat.numel() / kCell;
  }
  activity::waiting(activity::Wait::Norm, "the gradient's norm");
  communicator_.all_reduce(norms, ReduceOp::Sum)->wait();  // each has one owner, the others add zero
  const torch::Tensor rows = at::linalg_vector_norm(norms, 2, {1}, false, at::kDouble);
  return at::linalg_vector_norm(rows, 2);
}

void GradientReducer::gather_weights() {
  activity::waiting(activity::Wait::Weights, "the other ranks' weights");
  for (Bucket& bucket : buckets_) bucket.moving = communicator_.all_gather(bucket.weights);
  for (Bucket& bucket : buckets_) std::exchange(bucket.moving, nullptr)->wait();
}

bool GradientReducer::finite() {
  const std::lock_guard lock(mutex_);
  complete_leaf();
  for (const Bucket& bucket : buckets_) {
    const torch::Tensor norms = norms_of_cells(bucket.flat, 0, bucket.flat.numel() / kCell);
    if (!norms.isfinite().all().item<bool>()) return false;
  }
  return true;
}

void GradientReducer::start(Bucket& bucket) {
  drop_siblings(bucket);
  std::vector<torch::Tensor> own = bucket.kept;
  if (!step_->nodes.empty()) own.push_back(bucket.flat);
  bucket.moving = communicator_.reduce_scatter(step_->tree, std::move(own), bucket.flat);
  if (communicator_.world_size() > 1) reduced_bytes_ += static_cast<std::int64_t>(bucket.flat.nbytes());
}

void GradientReducer::check_still_view(const Slot& slot) const {
  PB_CHECK(slot.parameter.is_alias_of(buckets_[slot.bucket].weights) && slot.parameter.storage_offset() == slot.offset,
           "GradientReducer: expected a parameter of shape {} to be a view of its bucket, found other memory, which no "
           "update would reach: move the model before the reducer is made",
           c10::str(slot.parameter.sizes()));
  const torch::Tensor& gradient = slot.parameter.grad();
  const torch::Tensor& flat = buckets_[slot.bucket].flat;
  PB_CHECK(
      gradient.defined() && gradient.is_alias_of(flat) && gradient.storage_offset() == slot.offset,
      "GradientReducer: expected the gradient of a parameter of shape {} to be a view of its bucket, found {}: zero "
      "gradients with the GradientReducer, not with the optimizer or the module",
      c10::str(slot.parameter.sizes()), gradient.defined() ? "another tensor" : "none");
}

}  // namespace pixelbert::comm
