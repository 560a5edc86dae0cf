#include "model/packed_attention.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <numeric>

#include "core/check.h"
#include "model/layers.h"

namespace pixelbert::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Offsets = std::vector<std::int64_t>;

// Where a sample lies in the tensors of all samples. It attends from m rows to n.
struct Sample {
  std::int64_t first_query, m, first_key, n;
  std::int64_t first_weight;  // of heads * m * n
};

std::vector<Sample> samples_of(const Offsets& all, const Offsets& wanted, std::int64_t heads) {
  std::vector<Sample> samples;
  std::int64_t weights = 0;
  for (std::size_t b = 0; b + 1 < all.size(); ++b) {
    const std::int64_t m = wanted[b + 1] - wanted[b], n = all[b + 1] - all[b];
    samples.push_back({.first_query = wanted[b], .m = m, .first_key = all[b], .n = n, .first_weight = weights});
    weights += heads * m * n;
  }
  return samples;
}

// Runs `attend` for each sample, for several at once.
template <class Attend>
void for_each_sample(const std::vector<Sample>& samples, const Attend& attend) {
  at::parallel_for(0, std::ssize(samples), /*grain_size=*/1, [&](std::int64_t begin, std::int64_t end) {
    const at::NoGradGuard no_grad;  // other threads do not inherit this one's
    for (std::int64_t b = begin; b < end; ++b) attend(samples[static_cast<std::size_t>(b)]);
  });
}

// The views of a sample.
class Views {
 public:
  Views(const Sample& sample, std::int64_t heads) : sample_(sample), heads_(heads) {}

  torch::Tensor queries(const torch::Tensor& x) const { return rows(x, sample_.first_query, sample_.m); }
  torch::Tensor keys(const torch::Tensor& x) const { return rows(x, sample_.first_key, sample_.n); }
  torch::Tensor weights(const torch::Tensor& x) const {  // -> [heads, m, n]
    return x.narrow(0, sample_.first_weight, heads_ * sample_.m * sample_.n).view({heads_, sample_.m, sample_.n});
  }

 private:
  // -> [heads, count, C / heads]
  torch::Tensor rows(const torch::Tensor& x, std::int64_t first, std::int64_t count) const {
    return x.narrow(0, first, count).view({count, heads_, x.size(1) / heads_}).transpose(0, 1);
  }

  const Sample& sample_;
  std::int64_t heads_;
};

// One node of autograd for all samples, each of which takes a dozen small operators. `learning`: keep what backward
// needs, which forward cannot see, because autograd runs it without gradients.
struct Attention : torch::autograd::Function<Attention> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& query, const torch::Tensor& key,
                               const torch::Tensor& value, std::int64_t heads, const Offsets& all,
                               const Offsets& wanted, double dropout, bool learning) {
    const std::vector<Sample> samples = samples_of(all, wanted, heads);
    std::int64_t count = 0;
    for (const Sample& sample : samples) count += heads * sample.m * sample.n;
    const torch::Tensor weights = learning ? at::empty({count}, query.options()) : torch::Tensor();
    const Dropout drop{dropout};
    const torch::Tensor kept = dropout > 0 ? drop.draw({count}) : torch::Tensor();
    torch::Tensor result = at::empty_like(query);

    for_each_sample(samples, [&](const Sample& sample) {
      const Views views(sample, heads);
      torch::Tensor scores = at::empty({heads, sample.m, sample.n}, query.options()), out = views.queries(result);
      torch::Tensor w = learning ? views.weights(weights) : at::empty_like(scores);
      at::bmm_out(scores, views.queries(query), views.keys(key).transpose(1, 2));
      at::_softmax_out(w, scores.mul_(scale(query, heads)), /*dim=*/-1, /*half_to_float=*/false);
      if (kept.defined()) at::mul_out(scores, w, views.weights(kept)).mul_(drop.scale());  // in the scores' memory
      at::bmm_out(out, kept.defined() ? scores : w, views.keys(value));
    });
    context->save_for_backward({query, key, value, weights, kept});
    context->saved_data["heads"] = heads;
    context->saved_data["all"] = all;
    context->saved_data["wanted"] = wanted;
    context->saved_data["dropout"] = dropout;
    return result;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const torch::Tensor &query = saved[0], &key = saved[1], &value = saved[2], &weights = saved[3], &kept = saved[4];
    const std::int64_t heads = context->saved_data["heads"].toInt();
    const Dropout dropout{context->saved_data["dropout"].toDouble()};
    const std::vector<Sample> samples =
        samples_of(context->saved_data["all"].toIntVector(), context->saved_data["wanted"].toIntVector(), heads);
    const torch::Tensor gradient = gradients[0].contiguous();
    const torch::Tensor to_query = at::empty_like(query), to_key = at::empty_like(key),
                        to_value = at::empty_like(value);

    for_each_sample(samples, [&](const Sample& sample) {
      const Views views(sample, heads);
      const torch::Tensor w = views.weights(weights), g = views.queries(gradient);
      torch::Tensor dropped = w, to_w = at::empty_like(w), to_scores = at::empty_like(w);
      torch::Tensor dq = views.queries(to_query), dk = views.keys(to_key), dv = views.keys(to_value);
      if (kept.defined()) dropped = (w * views.weights(kept)).mul_(dropout.scale());
      at::bmm_out(dv, dropped.transpose(1, 2), g);
      at::bmm_out(to_w, g, views.keys(value).transpose(1, 2));
      if (kept.defined()) to_w.mul_(views.weights(kept)).mul_(dropout.scale());
      at::_softmax_backward_data_out(to_scores, to_w, w, /*dim=*/-1, w.scalar_type());
      to_scores.mul_(scale(query, heads));
      at::bmm_out(dq, to_scores, views.keys(key));
      at::bmm_out(dk, to_scores.transpose(1, 2), views.queries(query));
    });
    return {to_query, to_key, to_value, {}, {}, {}, {}, {}};
  }

 private:
  static double scale(const torch::Tensor& query, std::int64_t heads) {
    return 1 / std::sqrt(static_cast<double>(query.size(1) / heads));
  }
};

// take() and put() are each other's backward. Those of LibTorch would add row by row, because an index may repeat.
struct Moved : torch::autograd::Function<Moved> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x, const Rows& rows, bool back) {
    context->save_for_backward({rows.index});
    context->saved_data["of"] = rows.of;
    context->saved_data["count"] = rows.count;
    context->saved_data["back"] = back;
    return moved(x, rows, back);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Rows rows{.index = context->get_saved_variables()[0],
                    .of = context->saved_data["of"].toInt(),
                    .count = context->saved_data["count"].toInt()};
    return {moved(gradients[0], rows, !context->saved_data["back"].toBool()), {}, {}};
  }

 private:
  static torch::Tensor moved(const torch::Tensor& x, const Rows& rows, bool back) {
    const std::int64_t chosen = rows.index.numel();
    if (back) return at::zeros({rows.of, x.size(1)}, x.options()).index_copy_(0, rows.index, x.narrow(0, 0, chosen));
    torch::Tensor taken = at::empty({rows.count, x.size(1)}, x.options());
    torch::Tensor first = taken.narrow(0, 0, chosen);
    at::index_select_out(first, x, 0, rows.index);
    taken.narrow(0, chosen, rows.count - chosen).zero_();
    return taken;
  }
};

}  // namespace

torch::Tensor take(const torch::Tensor& x, const Rows& rows) {
  PB_CHECK(x.size(0) == rows.of, "expected {} rows to take some from, found {}", rows.of, x.size(0));
  return Moved::apply(x, rows, /*back=*/false);
}

torch::Tensor put(const torch::Tensor& x, const Rows& rows) {
  PB_CHECK(x.size(0) == rows.count, "expected {} rows to put back, found {}", rows.count, x.size(0));
  return Moved::apply(x, rows, /*back=*/true);
}

Packing pack(const torch::Tensor& mask, std::int64_t multiple) {
  Packing packing{.mask = mask, .rows = {.index = mask.flatten().nonzero().squeeze(1)}, .offsets = {0}};
  const torch::Tensor counts = mask.sum(1);
  const auto* count = counts.const_data_ptr<std::int64_t>();
  for (std::int64_t b = 0; b < mask.size(0); ++b) packing.offsets.push_back(packing.offsets.back() + count[b]);
  packing.rows.of = mask.numel();
  packing.rows.count = (packing.offsets.back() + multiple - 1) / multiple * multiple;
  return packing;
}

Rows first_rows(const Packing& all, const Packing& wanted) {
  Rows rows{.index = at::empty({wanted.offsets.back()}, at::kLong), .of = all.rows.count, .count = wanted.rows.count};
  auto* row = rows.index.mutable_data_ptr<std::int64_t>();
  for (std::size_t b = 0; b + 1 < all.offsets.size(); ++b) {
    const std::int64_t count = wanted.offsets[b + 1] - wanted.offsets[b];
    std::iota(row, row + count, all.offsets[b]);
    row += count;
  }
  return rows;
}

torch::Tensor packed_attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                               std::int64_t heads, const Packing& all, const Packing& wanted, double dropout) {
  PB_CHECK(wanted.offsets.size() == all.offsets.size() && query.size(0) == wanted.offsets.back() &&
               key.size(0) == all.offsets.back() && value.size(0) == all.offsets.back(),
           "{} queries of {} samples do not go with {} keys and {} values of {}", query.size(0),
           wanted.offsets.size() - 1, key.size(0), value.size(0), all.offsets.size() - 1);
  return Attention::apply(query, key, value, heads, all.offsets, wanted.offsets, dropout, at::GradMode::is_enabled());
}

}  // namespace pixelbert::model
