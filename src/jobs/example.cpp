#include "jobs/example.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/files.h"
#include "core/log.h"

namespace pixelbert::jobs {

torch::Tensor read_image(const std::string& path, const images::ImageConfig& config) {
  const std::string encoded = read_file(path);
  try {
    return images::load({reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()}, config);
  } catch (const images::BadImage& error) {
    fail(fmt::format("--image {}: {}", path, error.what()));
  }
}

std::vector<std::int64_t> read_text(const std::string& text, const text::WordPiece& tokenizer,
                                    std::int64_t max_tokens) {
  std::vector<std::int64_t> ids = tokenizer.encode(text, max_tokens);
  const auto all = std::ssize(tokenizer.encode(text, std::numeric_limits<std::int64_t>::max()));
  if (all > std::ssize(ids)) {
    log::warn("the text has {} tokens with [CLS] and [SEP], of which the model reads {} (--text.max-tokens)", all,
              ids.size());
  }
  return ids;
}

model::Inputs make_inputs(const std::vector<torch::Tensor>& images, const std::vector<std::int64_t>& ids,
                          const images::ImageConfig& config, torch::Device device) {
  images::Size largest;
  for (const torch::Tensor& image : images) {
    largest.height = std::max(largest.height, image.size(2));
    largest.width = std::max(largest.width, image.size(3));
  }
  const images::Size size = images::padded(largest, config);
  const auto count = std::ssize(images);
  model::Inputs inputs;
  inputs.image_sizes = at::zeros({count, 2}, at::kLong);
  std::vector<torch::Tensor> padded;
  for (const torch::Tensor& image : images) {
    inputs.image_sizes[std::ssize(padded)].copy_(at::tensor({image.size(2), image.size(3)}, at::kLong));
    padded.push_back(images::pad(image, size));
  }
  inputs.images = at::cat(padded).contiguous(at::MemoryFormat::ChannelsLast).to(device);
  inputs.image_of_row = at::arange(count, at::kLong);
  inputs.tokens = at::tensor(ids, at::kLong).repeat({count, 1}).to(device);
  inputs.token_mask = at::ones_like(inputs.tokens, at::kBool);
  return inputs;
}

namespace {

std::int64_t pixels_of(model::PixelBert& model, const model::Inputs& inputs, std::int64_t row) {
  const torch::Tensor size = inputs.image_sizes[row];
  return model::token_grid(model->config(), {size[0].item<std::int64_t>(), size[1].item<std::int64_t>()}).cells();
}

}  // namespace

torch::Tensor own_hidden(model::PixelBert& model, const model::Inputs& inputs, const model::Encoded& encoded,
                         std::int64_t row) {
  const std::int64_t tokens = inputs.tokens.size(1) + pixels_of(model, inputs, row);
  return encoded.hidden[row].narrow(0, 0, tokens).to(at::kCPU, at::kFloat).contiguous();
}

torch::Tensor attention_to_pixels(model::PixelBert& model, const model::Inputs& inputs) {
  std::vector<torch::Tensor> layers;  // [1, heads, T + P, T + P] each
  for (const torch::Tensor& attention : model->attentions(inputs)) layers.push_back(attention.narrow(0, 0, 1));
  const std::int64_t words = inputs.tokens.size(1);
  const torch::Tensor of_words = at::cat(layers).narrow(2, 0, words);
  return of_words.narrow(3, words, pixels_of(model, inputs, 0)).to(at::kCPU, at::kFloat).contiguous();
}

}  // namespace pixelbert::jobs
