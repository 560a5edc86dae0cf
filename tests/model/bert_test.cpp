#include "model/bert.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/autocast.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

constexpr std::int64_t kVocabulary = 50;

Bert small_bert(std::int64_t layers = 1) {
  at::manual_seed(3);
  PixelBertConfig config;
  config.vocabulary = kVocabulary;
  config.hidden = 32;
  config.layers = layers;
  config.heads = 4;
  config.positions = 12;
  config.dropout = 0;
  Bert bert(config);
  bert->named_parameters()["embeddings.word_embeddings.weight"].mutable_grad() = at::zeros({kVocabulary, 32});
  return bert;
}

torch::Tensor gradient_of(const Bert& bert) {
  return bert->named_parameters()["embeddings.word_embeddings.weight"].grad();
}

// Words occur several times in a text and in several texts.
torch::Tensor some_tokens(std::int64_t texts) {
  return at::randint(0, kVocabulary / 5, {texts, 7}, at::kLong);
}

enum Uses { kRead = 1, kDecode = 2 };

torch::Tensor loss_of(Bert& bert, const torch::Tensor& tokens, int uses) {
  const EmbeddedText text = bert->embed(tokens);
  torch::Tensor loss = at::zeros({});
  if (uses & kRead) loss = loss + (text.tokens * at::arange(32)).square().sum();
  const torch::Tensor hidden = text.tokens.detach().flatten(0, 1);
  if (uses & kDecode) loss = loss + at::linear(hidden, text.decoder).square().sum();
  return loss;
}

class WordEmbeddings : public testing::TestWithParam<int> {};

TEST_P(WordEmbeddings, HaveTheGradientOfAllTheirUses) {
  Bert bert = small_bert();
  const torch::Tensor tokens = some_tokens(4);
  loss_of(bert, tokens, GetParam()).backward();

  // The same, computed by LibTorch alone in double.
  const torch::Tensor words =
      bert->named_parameters()["embeddings.word_embeddings.weight"].detach().to(at::kDouble).requires_grad_();
  const torch::Tensor positions =
      bert->named_parameters()["embeddings.position_embeddings.weight"].detach().to(at::kDouble).narrow(0, 0, 7);
  const torch::Tensor read = at::layer_norm(at::embedding(words, tokens) + positions, {32}, {}, {}, 1e-12);
  torch::Tensor loss = at::zeros({}, at::kDouble);
  if (GetParam() & kRead) loss = loss + (read * at::arange(32)).square().sum();
  if (GetParam() & kDecode) loss = loss + at::linear(read.detach().flatten(0, 1), words).square().sum();
  loss.backward();
  EXPECT_EQ(gradient_of(bert).layout(), at::kStrided);
  EXPECT_LT(test::relative_difference(gradient_of(bert), words.grad().to(at::kFloat)), 1e-5);
}

// Makes two ranks equal to one: each micro-batch adds one number to each weight's gradient.
TEST_P(WordEmbeddings, AddTheSumOfAMicroBatchAtOnce) {
  Bert bert = small_bert();
  const std::vector<torch::Tensor> texts = {some_tokens(3), some_tokens(5)};
  std::vector<torch::Tensor> apart;
  for (const torch::Tensor& tokens : texts) {
    gradient_of(bert).zero_();
    loss_of(bert, tokens, GetParam()).backward();
    apart.push_back(gradient_of(bert).clone());
  }
  gradient_of(bert).zero_();
  for (const torch::Tensor& tokens : texts) loss_of(bert, tokens, GetParam()).backward();
  EXPECT_TRUE(gradient_of(bert).equal(apart[0] + apart[1]));
}

// A sample's result, and what its own tokens add to the gradient, do not depend on the other samples or on padding.
TEST(Bert, EncodesASampleOfABatchAsAlone) {
  for (const std::int64_t wanted : {9, 6, 1}) {
    Bert bert = small_bert(/*layers=*/2);
    const std::vector<std::int64_t> lengths = {9, 4, 7};
    torch::Tensor x = at::randn({3, 9, 32}), mask = at::zeros({3, 9}, at::kBool);
    for (std::int64_t b = 0; b < 3; ++b) mask[b].narrow(0, 0, lengths[static_cast<std::size_t>(b)]).fill_(true);
    x.masked_fill_(mask.logical_not().unsqueeze(2), std::numeric_limits<float>::quiet_NaN());
    const torch::Tensor together = bert->encode(x, mask, wanted);
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t length = lengths[static_cast<std::size_t>(b)], shown = std::min(length, wanted);
      const torch::Tensor alone =
          bert->encode(x.narrow(0, b, 1).narrow(1, 0, length), at::ones({1, length}, at::kBool), shown);
      EXPECT_LT(test::relative_difference(together[b].narrow(0, 0, shown), alone[0]), 1e-5);
      EXPECT_TRUE(together[b].narrow(0, shown, wanted - shown).eq(0).all().item<bool>());
    }
  }
}

// In bfloat16 only attention has padding; the rest has a few rows of zeros at its end.
TEST(Bert, IsTheSameFunctionInBfloat16) {
  for (const std::int64_t wanted : {9, 6, 1}) {
    Bert bert = small_bert(/*layers=*/3);
    const torch::Tensor lengths = at::tensor({9, 4, 7}, at::kLong).unsqueeze(1);
    const torch::Tensor mask = at::arange(9).unsqueeze(0).lt(lengths), noise = at::randn({3, wanted, 32});
    const torch::Tensor values = at::randn({3, 9, 32}), shown = mask.narrow(1, 0, wanted).unsqueeze(2);
    std::vector<torch::Tensor> results, gradients, of_weights;
    for (const Precision precision : {Precision::Float32, Precision::Bf16}) {
      bert->zero_grad();
      const torch::Tensor x = values.clone().requires_grad_();
      torch::Tensor y;
      {
        const Autocast autocast(at::kCPU, precision);
        y = bert->encode(x, mask, wanted);
      }
      EXPECT_TRUE(y.masked_select(shown.logical_not()).eq(0).all().item<bool>());
      (y * noise).sum().backward();
      results.push_back(y.detach());
      gradients.push_back(x.grad());
      EXPECT_TRUE(x.grad().masked_select(mask.logical_not().unsqueeze(2)).eq(0).all().item<bool>());
      of_weights.push_back(
          bert->named_parameters()["encoder.layer.0.attention.self.value.weight"].grad().to(at::kFloat));
    }
    EXPECT_LT(test::relative_difference(results[1], results[0]), 2e-2) << wanted;
    EXPECT_LT(test::relative_difference(gradients[1], gradients[0]), 3e-2) << wanted;
    EXPECT_LT(test::relative_difference(of_weights[1], of_weights[0]), 3e-2) << wanted;
  }
}

// GPUs compute the padded form of the layer.
TEST(Bert, HasOneFunctionInBothForms) {
  Bert bert = small_bert(/*layers=*/1);
  const torch::Tensor mask = at::arange(6).unsqueeze(0).lt(at::tensor({6, 4}, at::kLong).unsqueeze(1));
  const auto layer = std::dynamic_pointer_cast<BertLayerImpl>(bert->named_modules()["encoder.layer.0"]);
  ASSERT_TRUE(layer);
  for (const std::int64_t wanted : {6, 4}) {
    const torch::Tensor values = at::randn({2, 6, 32});
    const torch::Tensor noise = at::randn({2, wanted, 32}) * mask.narrow(1, 0, wanted).unsqueeze(2);
    for (const Precision precision : {Precision::Float32, Precision::Bf16}) {
      std::vector<std::vector<torch::Tensor>> forms;  // result and gradients
      for (const bool padded : {true, false}) {
        bert->zero_grad();
        const torch::Tensor x = values.clone().requires_grad_();
        torch::Tensor y;
        {
          const Autocast autocast(at::kCPU, precision);
          y = padded ? layer->forward(x, mask.unsqueeze(1).unsqueeze(1), wanted) : bert->encode(x, mask, wanted);
        }
        y = y.to(at::kFloat) * noise;
        y.sum().backward();
        std::vector<torch::Tensor>& form = forms.emplace_back(std::vector{y.detach(), x.grad()});
        for (const char* name : {"query.weight", "value.weight", "value.bias"}) {
          form.push_back(layer->named_parameters()[std::string("attention.self.") + name].grad().clone());
        }
      }
      for (std::size_t i = 0; i < forms[0].size(); ++i) {
        EXPECT_LT(test::relative_difference(forms[0][i], forms[1][i]), precision == Precision::Float32 ? 1e-5 : 2e-2)
            << "wanted " << wanted << ", tensor " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Uses, WordEmbeddings, testing::Values(kRead, kDecode, kRead | kDecode));

}  // namespace
}  // namespace pixelbert::model
