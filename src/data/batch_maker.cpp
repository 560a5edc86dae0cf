#include "data/batch_maker.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/check.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/mlm_masking.h"
#include "images/image_ops.h"

namespace pixelbert::data {
namespace {

std::uint64_t bits(std::int64_t number) {
  return static_cast<std::uint64_t>(number);
}

}  // namespace

BatchMaker::BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
                       const LoaderConfig& config)
    : data_sets_(data_sets), stream_(stream), tokenizer_(tokenizer), config_(config) {}

std::optional<Batch> BatchMaker::make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop) const {
  const std::vector<Pair> dealt = stream_.pairs(at, micro_batch.first, micro_batch.last);
  // A sample is named by the pair that was dealt, whatever stands in for it: that comes once an epoch.
  const auto sample_key = [&](const Pair& pair, Purpose purpose) {
    return key({config_.seed, bits(at.epoch), bits(pair.data_set), bits(pair.text), purpose});
  };

  Batch batch;
  batch.at = at;
  batch.micro_batch = micro_batch;
  std::vector<Picture> pictures;
  std::vector<Sample> samples;
  std::vector<std::int64_t> image_of_pair;
  std::vector<std::uint64_t> masking_keys;
  for (const Pair& pair : dealt) {
    if (stop.stop_requested()) return std::nullopt;
    samples.push_back(read(pair, sample_key(pair, Purpose::kSubstitute), pictures, batch.bad_samples));
    image_of_pair.push_back(std::ssize(pictures) - 1);
    masking_keys.push_back(sample_key(pair, Purpose::kMasking));
    if (config_.sample_pixels) batch.pixel_keys.push_back(sample_key(pair, Purpose::kPixels));
  }

  const auto draw_foreign = [&](std::int64_t index, std::uint64_t draw) -> std::optional<Sample> {
    const std::optional<Pair> pair = stream_.foreign_pair(at, micro_batch.first + index, draw);
    if (!pair) return std::nullopt;
    try {
      return Sample{.pair = *pair, .text = data_set(*pair).text(pair->text)};
    } catch (const shards::CorruptRecord&) {
      return std::nullopt;  // reported and counted when it is a sample itself
    }
  };
  choose_pairs(samples, draw_foreign,
               key({config_.seed, bits(at.epoch), bits(at.step), bits(micro_batch.index), Purpose::kNegatives}));

  for (const Sample& sample : samples) batch.pairs.push_back(sample.pair);
  batch.image_of_pair = at::tensor(image_of_pair);
  add_images(pictures, batch);
  add_texts(samples, masking_keys, batch);
  return batch;
}

const shards::ShardSet& BatchMaker::data_set(const Pair& pair) const {
  return *data_sets_[bits(pair.data_set)];
}

Sample BatchMaker::read(const Pair& pair, std::uint64_t substitute_key, std::vector<Picture>& pictures,
                        BadSamples& bad) const {
  constexpr int kAttempts = 64;  // more bad images in a row than this are no accident
  const shards::ShardSet& data = data_set(pair);
  Pair candidate = pair;
  std::string reason, why;
  const auto reject = [&](const std::string& label, const Error& error) {
    if (reason.empty()) reason = label;
    why = error.what();
    log_once(candidate, why);
  };
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    try {
      Sample sample = read_pair(candidate, pictures);
      if (!reason.empty()) ++bad[reason];
      return sample;
    } catch (const images::BadImage& error) {
      reject(error.reason, error);
    } catch (const shards::CorruptRecord& error) {
      reject("checksum", error);
    }
    candidate = next_image(candidate, substitute_key);
    if (candidate.image == pair.image) break;  // all round
  }
  fail(
      fmt::format("expected a good image in {} in place of image {}, found only bad ones in a row, the last because: "
                  "{}. 'pixelbert inspect {}' tells what is broken",
                  data.folder().string(), data.image_id(pair.image), why, data.folder().string()));
}

Pair BatchMaker::next_image(Pair pair, std::uint64_t text_key) const {
  const shards::ShardSet& data = data_set(pair);
  std::int64_t texts = 0;
  do {
    pair.image = (pair.image + 1) % data.images();
    texts = data.text_counts(pair.image, pair.image + 1)[0];
  } while (texts == 0);
  pair.text = data.first_text_of_image(pair.image) + static_cast<std::int64_t>(Random(text_key).below(bits(texts)));
  return pair;
}

Sample BatchMaker::read_pair(const Pair& pair, std::vector<Picture>& pictures) const {
  const shards::ShardSet& data = data_set(pair);
  Sample sample{.pair = pair, .text = data.text(pair.text)};
  if (pictures.empty() || pictures.back().image != pair.image || pictures.back().data_set != pair.data_set) {
    const torch::Tensor decoded = images::decode(data.image(pair.image));
    const images::Size size = images::resized({decoded.size(0), decoded.size(1)}, config_.image);
    pictures.push_back({pair.data_set, pair.image, images::resize(decoded, size)});
  }
  return sample;
}

void BatchMaker::log_once(const Pair& pair, const std::string& why) const {
  {
    const std::lock_guard guard(logged_mutex_);
    if (!logged_.insert({pair.data_set, pair.image}).second) return;
  }
  const shards::ShardSet& data = data_set(pair);
  log::warn("image {} of {} cannot be used, another stands in for it: {}", data.image_id(pair.image),
            data.folder().string(), why);
}

void BatchMaker::add_images(const std::vector<Picture>& pictures, Batch& batch) const {
  const auto count = std::ssize(pictures);
  std::int64_t height = 0, width = 0;
  batch.image_sizes = at::empty({count, 2}, at::kLong);
  auto sizes = batch.image_sizes.accessor<std::int64_t, 2>();
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor& pixels = pictures[bits(i)].pixels;
    height = std::max(height, sizes[i][0] = pixels.size(0));
    width = std::max(width, sizes[i][1] = pixels.size(1));
  }

  batch.images = memory_.take(count, height, width);
  if (config_.blank_images) {
    batch.images.zero_();  // the mean colour, normalised
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor image = batch.images[i];
    const std::int64_t h = sizes[i][0], w = sizes[i][1];
    images::normalise_into(pictures[bits(i)].pixels, image.narrow(1, 0, h).narrow(2, 0, w));
    if (h < height) image.narrow(1, h, height - h).zero_();
    if (w < width) image.narrow(1, 0, h).narrow(2, w, width - w).zero_();
  }
}

void BatchMaker::add_texts(const std::vector<Sample>& samples, const std::vector<std::uint64_t>& masking_keys,
                           Batch& batch) const {
  const text::Vocabulary& vocabulary = tokenizer_.vocabulary();
  std::vector<std::vector<std::int64_t>> texts;
  std::size_t longest = 0;
  for (const Sample& sample : samples) {
    texts.push_back(tokenizer_.encode(sample.text, config_.max_text_tokens));
    longest = std::max(longest, texts.back().size());
  }

  const auto pairs = std::ssize(samples), length = static_cast<std::ptrdiff_t>(longest);
  batch.tokens = at::full({pairs, length}, vocabulary.pad(), at::kLong);
  batch.token_mask = at::zeros({pairs, length}, at::kBool);
  batch.itm_labels = at::empty({pairs}, at::kFloat);
  std::vector<std::int64_t> positions, labels;
  for (std::int64_t i = 0; i < pairs; ++i) {
    const Sample& sample = samples[bits(i)];
    std::vector<std::int64_t>& text = texts[bits(i)];
    // Foreign texts are masked in any case: otherwise a [MASK] would tell that a text belongs to its image.
    const MaskedTokens masked = mask_tokens(text, vocabulary, config_.mask_probability, masking_keys[bits(i)]);
    if (sample.matched || config_.mlm_on_negatives) {
      for (const std::int64_t position : masked.positions) positions.push_back(i * length + position);
      labels.insert(labels.end(), masked.labels.begin(), masked.labels.end());
    }
    std::copy(text.begin(), text.end(), batch.tokens.data_ptr<std::int64_t>() + i * length);
    std::fill_n(batch.token_mask.data_ptr<bool>() + i * length, text.size(), true);
    batch.itm_labels.data_ptr<float>()[i] = sample.matched ? 1.0f : 0.0f;
  }
  batch.mlm_positions = at::tensor(positions, at::kLong);
  batch.mlm_labels = at::tensor(labels, at::kLong);
}

}  // namespace pixelbert::data
