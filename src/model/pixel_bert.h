// Pixel-BERT without its heads: pixels and text in, one hidden vector per token out (paper, Figure 2). The CNN runs
// once per image, the Transformer once per pair of image and text.
//
// Shapes: I images, B pairs, T text tokens, P pixel tokens (the most of any pair in the batch), C hidden.
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

// The tokens whose hidden vectors are wanted: all, the text, or [CLS]. Fewer are cheaper.
enum class Wanted { All, Text, Pair };

struct Inputs {
  torch::Tensor images;                   // [I, 3, H, W] float32, zero below and right of an image
  torch::Tensor image_sizes;              // [I, 2] int64 on the CPU, before padding
  torch::Tensor image_of_row;             // [B] int64, best on the CPU: the pixels are chosen there
  torch::Tensor tokens;                   // [B, T] int64
  torch::Tensor token_mask;               // [B, T] bool, true where there is a token
  std::vector<std::uint64_t> pixel_keys;  // [B] draw min(sampled_pixels, available) by these; empty: all pixels
  Wanted wanted = Wanted::All;
};

struct Encoded {
  torch::Tensor hidden;                                       // [B, wanted, C]: [CLS], text, pixels
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

  // The two halves of forward(), for callers that read several sets of texts with the same images.
  torch::Tensor features(const torch::Tensor& images);                  // -> [I, F, h, w]
  Encoded encode(const torch::Tensor& features, const Inputs& inputs);  // `inputs.images` give the size only

  // Returns [B, heads, T + P, T + P] for each layer: the attention of each token to each other. In evaluation mode.
  std::vector<torch::Tensor> attentions(const Inputs& inputs);

  const PixelBertConfig& config() const { return config_; }

  // Return the trained parameters under their names in model.safetensors: the CNN without its frozen stages (for SGD),
  // and everything else (for AdamW).
  std::vector<std::pair<std::string, torch::Tensor>> backbone_parameters() const;
  std::vector<std::pair<std::string, torch::Tensor>> transformer_parameters() const;

  // Returns the statistics that local BatchNorm has gathered in training, and begins anew: float32 [n] sums of means
  // and unbiased variances; the last element is the number of forwards. The loop takes them after each micro-batch,
  // adds them along the tree (comm/sum_tree.h) and gives the sum to update_running_statistics, so that running
  // statistics do not depend on how the batch is split over ranks; a step that must leave no trace drops them. The
  // length depends only on the configuration: a rank without a micro-batch takes part, too. Empty if no BatchNorm is
  // local.
  torch::Tensor take_batch_statistics();

  // Moves the running statistics towards the mean over the micro-batches, with momentum 0.1; not if `finite`, bool []
  // on their device, is false. `summed` counts at least one micro-batch; with exactly one the result is PyTorch's.
  void update_running_statistics(const torch::Tensor& summed, const torch::Tensor& finite);

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

// Floating-point operations of one forward pass: two per multiply-add of convolutions, linear layers and attention.
// The padding of images is included. That of tokens is not: GPUs compute it, and CPUs do in bf16, in attention.
// `inputs` are on the CPU.
struct ForwardFlops {
  double frozen = 0;   // of the CNN's frozen stages
  double cnn = 0;      // of the other stages and the projection after them
  double encoder = 0;  // of the Transformer

  double all() const { return frozen + cnn + encoder; }
  double with_backward() const { return frozen + 3 * (cnn + encoder); }  // backward costs twice as much as forward
};
ForwardFlops forward_flops(const PixelBertConfig& config, const Inputs& inputs);

}  // namespace pixelbert::model
