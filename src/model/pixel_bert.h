// Pixel-BERT without its heads: pixels and text in, one hidden vector per token out (paper, Figure 2). The CNN runs
// once per picture, the Transformer once per pair of picture and text.
//
// Shapes: I pictures, B pairs, T text tokens, P pixel tokens (the most any pair of the batch has), C hidden.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/bert.h"
#include "model/layers.h"
#include "model/pixel_bert_config.h"
#include "model/pixel_embedding.h"
#include "model/resnet.h"

namespace pixelbert::model {

// Whose hidden vectors are asked for: all tokens', the text's, or that of [CLS]. Fewer are cheaper.
enum class Wanted { All, Text, Pair };

struct Inputs {
  torch::Tensor images;                   // [I, 3, H, W] float32, zero below and right of a picture
  torch::Tensor image_sizes;              // [I, 2] int64 on the CPU, before padding
  torch::Tensor image_of_row;             // [B] int64, best on the CPU: the pixels are chosen there
  torch::Tensor tokens;                   // [B, T] int64
  torch::Tensor token_mask;               // [B, T] bool, true where there is a token
  std::vector<std::uint64_t> pixel_keys;  // [B] draw min(sampled_pixels, available) by these; empty: all pixels
  Wanted wanted = Wanted::All;
};

struct Encoded {
  torch::Tensor hidden;                                       // [B, wanted, C], of [CLS], text, pixels
  torch::Tensor mask;                                         // [B, T + P] bool, true where there is a token or pixel
  std::int64_t text_tokens;                                   // T
  torch::Tensor decoder;                                      // [vocabulary, C], the word embeddings
  torch::Tensor pair() const { return hidden.select(1, 0); }  // [B, C], the vector of [CLS]
  torch::Tensor text() const { return hidden.narrow(1, 0, text_tokens); }  // [B, T, C]
};

class PixelBertImpl : public torch::nn::Module {
 public:
  explicit PixelBertImpl(const PixelBertConfig& config);  // UsageError with what find_problems() finds

  Encoded forward(const Inputs& inputs) { return encode(features(inputs.images), inputs); }

  // The two halves of forward, for whoever reads several sets of texts beside the same pictures.
  torch::Tensor features(const torch::Tensor& images);                  // -> [I, F, h, w], the CNN's
  Encoded encode(const torch::Tensor& features, const Inputs& inputs);  // `inputs.images` give the size only

  // [B, heads, T + P, T + P] of each layer: how much each token looks at each other. In evaluation mode.
  std::vector<torch::Tensor> attentions(const Inputs& inputs);

  const PixelBertConfig& config() const { return config_; }

  // What is trained, under its names in model.safetensors: the CNN without its frozen stages, by SGD, and everything
  // else, by AdamW.
  std::vector<std::pair<std::string, torch::Tensor>> backbone_parameters() const;
  std::vector<std::pair<std::string, torch::Tensor>> transformer_parameters() const;

  // Local BatchNorm gathers the statistics of each micro-batch of a step: float32 [n] sums of means and unbiased
  // variances, the last element how many micro-batches were added. The call hands them out and starts the next step's
  // from zero; a step that is to leave no trace drops them. The loop sums them over ranks and gives them to
  // update_running_statistics, so that running statistics do not depend on how the batch is cut over ranks. The length
  // depends on the configuration alone: also a rank that had no micro-batch takes part. Empty when no BatchNorm is
  // local.
  torch::Tensor batch_statistics();

  // Momentum 0.1 towards the mean over the micro-batches; `summed` counts at least one. With exactly one micro-batch
  // the result is PyTorch's.
  void update_running_statistics(const torch::Tensor& summed);

 private:
  struct Embedded {
    torch::Tensor tokens;   // [B, T + P, C], text first
    torch::Tensor mask;     // [B, T + P] bool
    torch::Tensor decoder;  // [vocabulary, C]
  };
  Embedded embed(const torch::Tensor& features, const Inputs& inputs);

  PixelBertConfig config_;
  ResNet backbone_{nullptr};
  PixelEmbedding visual_{nullptr};
  Bert bert_{nullptr};
};
TORCH_MODULE(PixelBert);

// Multiply-adds times two of one forward pass as executed, padding included: convolutions, linear layers, attention.
struct ForwardFlops {
  double frozen = 0;   // of the CNN's frozen stages
  double cnn = 0;      // of the others, and of the projection behind them
  double encoder = 0;  // of the Transformer

  double all() const { return frozen + cnn + encoder; }
  double with_backward() const { return frozen + 3 * (cnn + encoder); }  // which costs twice what forward does
};
ForwardFlops forward_flops(const PixelBertConfig& config, const Inputs& inputs);

}  // namespace pixelbert::model
