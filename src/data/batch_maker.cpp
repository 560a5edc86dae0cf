#include "data/batch_maker.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "core/activity.h"
#include "core/check.h"
#include "images/image_ops.h"

namespace pixelbert::data {

BatchMaker::BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
                       const BatchConfig& config, const RowMaker& row_maker)
    : stream_(stream),
      tokenizer_(tokenizer),
      config_(config),
      row_maker_(row_maker),
      reader_(data_sets, config.image) {}

std::optional<Batch> BatchMaker::make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop) const {
  Draft draft{.stream = stream_, .tokenizer = tokenizer_, .reader = reader_, .config = config_};
  Batch& batch = draft.batch;
  batch.at = at;
  batch.micro_batch = micro_batch;
  draft.dealt = stream_.pairs(at, micro_batch.first, micro_batch.last);
  for (const Pair& pair : draft.dealt) {
    if (stop.stop_requested()) return std::nullopt;
    activity::doing(activity::Phase::Data, fmt::format("image {} and text {} (rows) of {}", pair.image, pair.text,
                                                       reader_.data_set(pair).folder().native()));
    draft.samples.push_back(
        reader_.read(pair, draft.sample_key(pair, Purpose::kSubstitute), draft.images, batch.bad_samples));
    draft.last_image.push_back(std::ssize(draft.images) - 1);
  }
  add_images(draft.images, batch);
  row_maker_.add_rows(draft);
  for (const Sample& sample : draft.samples) batch.pairs.push_back(sample.pair);
  return std::move(batch);
}

void BatchMaker::add_images(const std::vector<DecodedImage>& decoded, Batch& batch) const {
  const auto count = std::ssize(decoded);
  images::Size largest;
  batch.image_sizes = at::empty({count, 2}, at::kLong);
  auto sizes = batch.image_sizes.accessor<std::int64_t, 2>();
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor& pixels = decoded[i].pixels;
    largest.height = std::max(largest.height, sizes[i][0] = pixels.size(0));
    largest.width = std::max(largest.width, sizes[i][1] = pixels.size(1));
  }

  const auto [height, width] = images::padded(largest, config_.image);
  batch.blank_images = config_.blank_images;
  batch.images = at::empty({count, height, width, 3}, at::kByte).permute({0, 3, 1, 2});
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor image = batch.images[i];
    const std::int64_t h = sizes[i][0], w = sizes[i][1];
    image.narrow(1, 0, h).narrow(2, 0, w).copy_(decoded[i].pixels.permute({2, 0, 1}));
    if (h < height) image.narrow(1, h, height - h).zero_();
    if (w < width) image.narrow(1, 0, h).narrow(2, w, width - w).zero_();
  }
}

}  // namespace pixelbert::data
