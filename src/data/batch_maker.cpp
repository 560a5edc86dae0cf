#include "data/batch_maker.h"

#include <tuple>
#include <utility>

#include "core/activity.h"

namespace pixelbert::data {

BatchMaker::BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
                       const BatchConfig& config, const RowMaker& row_maker)
    : stream_(stream), tokenizer_(tokenizer), config_(config), row_maker_(row_maker), reader_(data_sets) {}

std::optional<Batch> BatchMaker::make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop,
                                      torch::Device device) const {
  Draft draft{.stream = stream_, .tokenizer = tokenizer_, .reader = reader_, .config = config_};
  Batch& batch = draft.batch;
  batch.at = at;
  batch.micro_batch = micro_batch;
  draft.dealt = stream_.pairs(at, micro_batch.first, micro_batch.last);
  const Shape shape = stream_.shape(at, micro_batch.first, micro_batch.last);
  ImageStack images(config_.image, shape.images, {shape.height, shape.width}, device);
  for (const Pair& pair : draft.dealt) {
    if (stop.stop_requested()) return std::nullopt;
    activity::doing(activity::Phase::Data, fmt::format("image {} and text {} (rows) of {}", pair.image, pair.text,
                                                       reader_.data_set(pair).folder().native()));
    draft.samples.push_back(
        reader_.read(pair, draft.sample_key(pair, Purpose::kSubstitute), images, batch.bad_samples));
    draft.last_image.push_back(images.size() - 1);
  }
  std::tie(batch.images, batch.image_sizes) = images.take();
  batch.blank_images = config_.blank_images;
  row_maker_.add_rows(draft);
  for (const Sample& sample : draft.samples) batch.pairs.push_back(sample.pair);
  return device.is_cuda() ? batch.pinned() : std::move(batch);
}

}  // namespace pixelbert::data
