#include "data/batch_maker.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/activity.h"
#include "core/check.h"
#include "data/mlm_masking.h"
#include "images/image_ops.h"

namespace pixelbert::data {
BatchMaker::BatchMaker(const DataSets& data_sets, const SampleStream& stream, const text::WordPiece& tokenizer,
                       const BatchConfig& config)
    : stream_(stream), tokenizer_(tokenizer), config_(config), reader_(data_sets, config.image) {}

std::optional<Batch> BatchMaker::make(Position at, const MicroBatch& micro_batch, const std::stop_token& stop) const {
  Batch batch;
  batch.at = at;
  batch.micro_batch = micro_batch;
  Draft draft;
  draft.dealt = stream_.pairs(at, micro_batch.first, micro_batch.last);
  for (const Pair& pair : draft.dealt) {
    if (stop.stop_requested()) return std::nullopt;
    activity::doing(activity::Phase::Data, fmt::format("image {} and text {} (rows) of {}", pair.image, pair.text,
                                                       reader_.data_set(pair).folder().native()));
    draft.samples.push_back(
        reader_.read(pair, sample_key(batch, pair, Purpose::kSubstitute), draft.pictures, batch.bad_samples));
    draft.last_picture.push_back(std::ssize(draft.pictures) - 1);
  }
  add_images(draft.pictures, batch);
  switch (config_.task.task) {
    case Task::Pretrain:
      add_pretraining(draft, batch);
      break;
    case Task::Vqa:
      add_questions(draft, batch);
      break;
    case Task::Nlvr2:
      add_statements(draft, batch);
      break;
    case Task::Retrieval:
      add_candidates(draft, batch);
      break;
  }
  for (const Sample& sample : draft.samples) batch.pairs.push_back(sample.pair);
  return batch;
}

// A sample's key is made of the pair that was dealt, which occurs once an epoch, even if another pair stands in for it.
std::uint64_t BatchMaker::sample_key(const Batch& batch, const Pair& dealt, Purpose purpose) const {
  return key(stream_.seed(), batch.at.epoch, dealt.data_set, dealt.text, purpose);
}

void BatchMaker::add_images(const std::vector<Picture>& pictures, Batch& batch) const {
  const auto count = std::ssize(pictures);
  std::int64_t height = 0, width = 0;
  batch.image_sizes = at::empty({count, 2}, at::kLong);
  auto sizes = batch.image_sizes.accessor<std::int64_t, 2>();
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor& pixels = pictures[i].pixels;
    height = std::max(height, sizes[i][0] = pixels.size(0));
    width = std::max(width, sizes[i][1] = pixels.size(1));
  }

  batch.images = at::empty({count, 3, height, width}, at::MemoryFormat::ChannelsLast);
  if (config_.blank_images) {
    batch.images.zero_();  // the mean colour, normalised
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const torch::Tensor image = batch.images[i];
    const std::int64_t h = sizes[i][0], w = sizes[i][1];
    images::normalise_into(pictures[i].pixels, image.narrow(1, 0, h).narrow(2, 0, w));
    if (h < height) image.narrow(1, h, height - h).zero_();
    if (w < width) image.narrow(1, 0, h).narrow(2, w, width - w).zero_();
  }
}

void BatchMaker::add_tokens(const std::vector<std::vector<std::int64_t>>& texts, Batch& batch) const {
  std::size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  const auto rows = std::ssize(texts), length = static_cast<std::ptrdiff_t>(longest);
  batch.tokens = at::full({rows, length}, tokenizer_.vocabulary().pad(), at::kLong);
  batch.token_mask = at::zeros({rows, length}, at::kBool);
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::vector<std::int64_t>& text = texts[i];
    std::copy(text.begin(), text.end(), batch.tokens.data_ptr<std::int64_t>() + i * length);
    std::fill_n(batch.token_mask.data_ptr<bool>() + i * length, text.size(), true);
  }
}

std::vector<std::int64_t> BatchMaker::encode(const std::string& text) const {
  return tokenizer_.encode(text, config_.text.max_tokens);
}

void BatchMaker::add_pretraining(Draft& draft, Batch& batch) const {
  if (config_.task.pretrain.itm()) {
    choose_pairs(
        draft.samples, [&](std::int64_t index, std::uint64_t draw) { return draw_foreign(batch, index, draw); },
        key(stream_.seed(), batch.at.epoch, batch.at.step, batch.micro_batch.index, Purpose::kNegatives));
  }
  batch.image_of_row = at::tensor(draft.last_picture);
  batch.itm_labels = at::empty({std::ssize(draft.samples)}, at::kFloat);
  for (std::size_t i = 0; i < draft.samples.size(); ++i) {
    batch.itm_labels.data_ptr<float>()[i] = draft.samples[i].matched ? 1.0f : 0.0f;
    if (config_.sample_pixels) batch.pixel_keys.push_back(sample_key(batch, draft.dealt[i], Purpose::kPixels));
  }
  add_masked(draft, batch);
}

void BatchMaker::add_masked(const Draft& draft, Batch& batch) const {
  std::vector<std::vector<std::int64_t>> texts;
  std::vector<MaskedTokens> masked;
  for (std::size_t i = 0; i < draft.samples.size(); ++i) {
    texts.push_back(encode(draft.samples[i].text));
    // Negatives are always masked: otherwise a [MASK] would reveal that a text belongs to its image.
    masked.push_back(mask_tokens(texts.back(), tokenizer_.vocabulary(),
                                 config_.task.pretrain.mlm() ? config_.task.pretrain.mask_probability : 0,
                                 sample_key(batch, draft.dealt[i], Purpose::kMasking)));
  }
  add_tokens(texts, batch);

  std::vector<std::int64_t> positions, labels;
  for (std::size_t i = 0; i < masked.size(); ++i) {
    if (!draft.samples[i].matched && !config_.task.pretrain.mlm_on_negatives) continue;
    const std::int64_t first = static_cast<std::int64_t>(i) * batch.tokens.size(1);
    for (const std::int64_t position : masked[i].positions) positions.push_back(first + position);
    labels.insert(labels.end(), masked[i].labels.begin(), masked[i].labels.end());
  }
  batch.mlm_positions = at::tensor(positions, at::kLong);
  batch.mlm_labels = at::tensor(labels, at::kLong);
}

void BatchMaker::check_label(bool is_there, const shards::ShardSet& data, const Pair& pair) const {
  PB_CHECK(is_there || config_.unlabelled,
           "text {} of {} has no answer to learn from: these shards are for evaluation and prediction; train on shards "
           "made with annotations",
           data.text_id(pair.text), data.folder().string());
}

void BatchMaker::add_questions(const Draft& draft, Batch& batch) const {
  std::vector<std::vector<std::int64_t>> texts;
  batch.image_of_row = at::tensor(draft.last_picture);
  batch.answer_scores = at::zeros({std::ssize(draft.samples), config_.task.answers}, at::kFloat);
  auto scores = batch.answer_scores.accessor<float, 2>();
  for (const Sample& sample : draft.samples) {
    const shards::ShardSet& data = reader_.data_set(sample.pair);
    const std::vector<shards::Answer> answers = data.answers(sample.pair.text);
    // An annotated question may have no answer in the vocabulary, but it has a group: the type of its answers.
    check_label(!answers.empty() || data.group(sample.pair.text) >= 0, data, sample.pair);
    for (const shards::Answer& answer : answers) {
      PB_CHECK(
          answer.index >= 0 && answer.index < config_.task.answers,
          "question {} of {} has answer {}, expected one of {}: shards and model have different answer vocabularies",
          data.text_id(sample.pair.text), data.folder().string(), answer.index, config_.task.answers);
      scores[std::ssize(texts)][answer.index] = answer.score;
    }
    texts.push_back(encode(sample.text));
  }
  add_tokens(texts, batch);
}

void BatchMaker::add_statements(const Draft& draft, Batch& batch) const {
  std::vector<std::vector<std::int64_t>> texts;
  std::vector<std::int64_t> pictures, labels;
  for (std::size_t i = 0; i < draft.samples.size(); ++i) {
    const Pair& pair = draft.samples[i].pair;
    const shards::ShardSet& data = reader_.data_set(pair);
    PB_CHECK(data.second_image_of_text(pair.text) >= 0,
             "expected two images for statement {} of {}, found one: nlvr2 needs shards made for it",
             data.text_id(pair.text), data.folder().string());
    const std::vector<shards::Answer> answers = data.answers(pair.text);
    check_label(!answers.empty(), data, pair);
    labels.push_back(answers.empty() ? 0 : answers[0].index);
    texts.insert(texts.end(), 2, encode(draft.samples[i].text));
    pictures.insert(pictures.end(), {draft.last_picture[i] - 1, draft.last_picture[i]});
  }
  batch.image_of_row = at::tensor(pictures);
  batch.labels = at::tensor(labels, at::kLong);
  add_tokens(texts, batch);
}

void BatchMaker::add_candidates(const Draft& draft, Batch& batch) const {
  constexpr std::int64_t kDraws = 16;
  std::vector<std::vector<std::int64_t>> texts;
  std::vector<std::int64_t> pictures;
  for (std::int64_t i = 0; i < std::ssize(draft.samples); ++i) {
    const Sample& own = draft.samples[i];
    std::vector<Sample> chosen;
    std::set<std::string> different = {own.text};
    Random draws(sample_key(batch, draft.dealt[i], Purpose::kNegativeText));
    for (std::int64_t draw = 0; draw < kDraws * config_.task.retrieval.foreign_texts &&
                                std::ssize(chosen) < config_.task.retrieval.foreign_texts;
         ++draw) {
      std::optional<Sample> foreign = draw_foreign(batch, i, draws.next());
      if (!foreign || foreign->pair.image == own.pair.image || !different.insert(foreign->text).second) continue;
      chosen.push_back(std::move(*foreign));
    }
    PB_CHECK(
        std::ssize(chosen) == config_.task.retrieval.foreign_texts,
        "expected {} different texts of other images near image {} of {}, found {}: the data set is too small; lower "
        "--retrieval.foreign-texts",
        config_.task.retrieval.foreign_texts, reader_.data_set(own.pair).image_id(own.pair.image),
        reader_.data_set(own.pair).folder().string(), chosen.size());
    texts.push_back(encode(own.text));
    for (const Sample& foreign : chosen) texts.push_back(encode(foreign.text));
    pictures.insert(pictures.end(), chosen.size() + 1, draft.last_picture[i]);
  }
  batch.image_of_row = at::tensor(pictures);
  add_tokens(texts, batch);
}

std::optional<Sample> BatchMaker::draw_foreign(const Batch& batch, std::int64_t index, std::uint64_t draw) const {
  const std::optional<Pair> pair = stream_.foreign_pair(batch.at, batch.micro_batch.first + index, draw);
  if (!pair) return std::nullopt;
  try {
    return Sample{.pair = *pair, .text = reader_.data_set(*pair).text(pair->text)};
  } catch (const shards::CorruptRecord&) {
    return std::nullopt;  // reported and counted when it is a sample itself
  }
}

}  // namespace pixelbert::data
