#include "model/packed_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/check.h"
#include "model/layers.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

constexpr std::int64_t kHeads = 3, kHidden = 24;

struct Case {
  std::string name;
  std::vector<std::int64_t> lengths;  // of each sample
  std::int64_t first;                 // tokens that are wanted
};

// [B, longest] bool: of each sample the first tokens up to its length, with a gap in front of the last one as there is
// between a short text and the pixels.
torch::Tensor mask_of(const std::vector<std::int64_t>& lengths) {
  const std::int64_t longest = *std::ranges::max_element(lengths) + 1;
  torch::Tensor mask = at::zeros({std::ssize(lengths), longest}, at::kBool);
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    mask[static_cast<std::int64_t>(b)].narrow(0, 0, lengths[b] - 1).fill_(true);
    mask[static_cast<std::int64_t>(b)][longest - 1].fill_(true);
  }
  return mask;
}

struct Result {
  torch::Tensor attended, to_query, to_key, to_value;
};

class PackedAttention : public testing::TestWithParam<Case> {
 protected:
  PackedAttention() {
    at::manual_seed(5);
    const torch::Tensor mask = mask_of(GetParam().lengths);
    all = pack(mask);
    wanted = pack(mask.narrow(1, 0, GetParam().first));
    query = at::randn({wanted.offsets.back(), kHidden});
    key = at::randn({all.offsets.back(), kHidden});
    value = at::randn_like(key);
    gradient = at::randn_like(query);
  }

  Result packed(double dropout, at::ScalarType type = at::kFloat) const {
    const auto leaf = [type](const torch::Tensor& x) {
      return x.to(type, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
    };
    const torch::Tensor q = leaf(query), k = leaf(key), v = leaf(value);
    const torch::Tensor attended = packed_attention(q, k, v, kHeads, all, wanted, dropout);
    attended.backward(gradient.to(type));
    return {attended.detach(), q.grad(), k.grad(), v.grad()};
  }

  // The same in double by LibTorch's operators, sample by sample. `kept`: of all weights, what dropout leaves.
  Result expected(const torch::Tensor& kept = {}, double scale = 1) const {
    const auto leaf = [](const torch::Tensor& x) { return x.to(at::kDouble).requires_grad_(); };
    const torch::Tensor q = leaf(query), k = leaf(key), v = leaf(value);
    std::vector<torch::Tensor> attended;
    std::int64_t weight = 0;
    for (std::size_t b = 0; b + 1 < all.offsets.size(); ++b) {
      const std::int64_t m = wanted.offsets[b + 1] - wanted.offsets[b], n = all.offsets[b + 1] - all.offsets[b];
      const auto heads = [](const torch::Tensor& x, std::int64_t first, std::int64_t count) {
        return x.narrow(0, first, count).view({count, kHeads, -1}).transpose(0, 1);
      };
      torch::Tensor weights =
          at::softmax(at::matmul(heads(q, wanted.offsets[b], m), heads(k, all.offsets[b], n).transpose(1, 2)) /
                          std::sqrt(static_cast<double>(kHidden / kHeads)),
                      -1);
      if (kept.defined()) weights = weights * kept.narrow(0, weight, weights.numel()).view_as(weights) * scale;
      weight += weights.numel();
      attended.push_back(at::matmul(weights, heads(v, all.offsets[b], n)).transpose(0, 1).reshape({m, kHidden}));
    }
    const torch::Tensor result = at::cat(attended);
    result.backward(gradient.to(at::kDouble));
    return {result.detach(), q.grad(), k.grad(), v.grad()};
  }

  static void expect_near(const Result& a, const Result& b, double tolerance) {
    EXPECT_LT(test::relative_difference(a.attended.to(at::kDouble), b.attended), tolerance);
    EXPECT_LT(test::relative_difference(a.to_query.to(at::kDouble), b.to_query), tolerance);
    EXPECT_LT(test::relative_difference(a.to_key.to(at::kDouble), b.to_key), tolerance);
    EXPECT_LT(test::relative_difference(a.to_value.to(at::kDouble), b.to_value), tolerance);
  }

  Packing all, wanted;
  torch::Tensor query, key, value, gradient;
};

TEST_P(PackedAttention, IsThatOfEachSampleAlone) {
  expect_near(packed(/*dropout=*/0), expected(), 1e-5);
}

TEST_P(PackedAttention, RoundsInBfloat16) {
  expect_near(packed(/*dropout=*/0, at::kBFloat16), expected(), 3e-2);
}

TEST_P(PackedAttention, DropsWeightsInForwardAndBackward) {
  at::manual_seed(7);
  const Result dropped = packed(/*dropout=*/0.25);
  at::manual_seed(7);
  const Dropout dropout{0.25};
  std::int64_t weights = 0;
  for (std::size_t b = 0; b + 1 < all.offsets.size(); ++b) {
    weights += kHeads * (wanted.offsets[b + 1] - wanted.offsets[b]) * (all.offsets[b + 1] - all.offsets[b]);
  }
  expect_near(dropped, expected(dropout.draw({weights}), dropout.scale()), 1e-5);
}

TEST_P(PackedAttention, RunsSamplesOnSeveralThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  const Result result = packed(/*dropout=*/0);
  at::set_num_threads(threads);
  expect_near(result, expected(), 1e-5);
}

TEST_P(PackedAttention, HasTheSameResultWithoutGradients) {
  const torch::Tensor learned = packed(/*dropout=*/0).attended;
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(packed_attention(query, key, value, kHeads, all, wanted, /*dropout=*/0).equal(learned));
}

INSTANTIATE_TEST_SUITE_P(Lengths, PackedAttention,
                         testing::Values(Case{"one", {5}, 5}, Case{"equal", {7, 7, 7}, 7},
                                         Case{"mixed", {2, 40, 9, 1, 17}, 41}, Case{"text", {12, 3, 30}, 11},
                                         Case{"first", {12, 3, 30, 2}, 1}),
                         [](const auto& info) { return info.param.name; });

TEST(Packing, HasTheRowsOfTokensInOrder) {
  const torch::Tensor mask = at::tensor({1, 1, 0, 1, 1, 0, 0, 1}, at::kLong).to(at::kBool).view({2, 4});
  const Packing all = pack(mask), some = pack(mask.narrow(1, 0, 2));
  EXPECT_TRUE(all.rows.index.equal(at::tensor({0, 1, 3, 4, 7}, at::kLong)));
  EXPECT_EQ(all.rows.of, 8);
  EXPECT_EQ(all.rows.count, 5);
  EXPECT_EQ(all.offsets, (std::vector<std::int64_t>{0, 3, 5}));
  EXPECT_TRUE(some.rows.index.equal(at::tensor({0, 1, 2}, at::kLong)));
  const Rows first = first_rows(all, some);
  EXPECT_TRUE(first.index.equal(at::tensor({0, 1, 3}, at::kLong)));
  EXPECT_EQ(first.of, 5);
  EXPECT_EQ(first.count, 3);
}

TEST(Packing, AddsZerosUpToAMultiple) {
  const torch::Tensor mask = at::tensor({1, 1, 0, 1, 1, 0, 0, 1}, at::kLong).to(at::kBool).view({2, 4});
  EXPECT_EQ(pack(mask, 4).rows.count, 8);
  EXPECT_EQ(pack(mask, 5).rows.count, 5);
  const Rows first = first_rows(pack(mask, 4), pack(mask.narrow(1, 0, 2), 4));
  EXPECT_EQ(first.of, 8);
  EXPECT_EQ(first.count, 4);
}

TEST(Rows, AreTakenAndPutBackWithTheirGradients) {
  at::manual_seed(11);
  const Rows rows{.index = at::tensor({1, 2, 4}, at::kLong), .of = 6, .count = 5};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const torch::Tensor x = at::randn({6, 3}).to(type).requires_grad_();
    const torch::Tensor taken = take(x, rows), expected = x.detach().index_select(0, rows.index);
    EXPECT_TRUE(taken.narrow(0, 0, 3).equal(expected));
    EXPECT_TRUE(taken.narrow(0, 3, 2).eq(0).all().item<bool>());
    const torch::Tensor back = put(taken, rows);
    EXPECT_TRUE(back.index_select(0, rows.index).equal(expected));
    EXPECT_TRUE(back.index_select(0, at::tensor({0, 3, 5}, at::kLong)).eq(0).all().item<bool>());

    const torch::Tensor gradient = at::randn({6, 3}).to(type);
    back.backward(gradient);
    const torch::Tensor there = x.grad().ne(0).any(1);
    EXPECT_TRUE(there.equal(at::tensor({0, 1, 1, 0, 1, 0}, at::kLong).to(at::kBool)));
    EXPECT_TRUE(x.grad().index_select(0, rows.index).equal(gradient.index_select(0, rows.index)));
  }
}

TEST(PackedAttentionOfOthers, IsRefused) {
  const Packing two = pack(at::ones({2, 3}, at::kBool)), three = pack(at::ones({3, 2}, at::kBool));
  const torch::Tensor x = at::randn({6, kHidden});
  EXPECT_THROW(packed_attention(x, x, x, kHeads, three, two, 0), Error);
}

}  // namespace
}  // namespace pixelbert::model
