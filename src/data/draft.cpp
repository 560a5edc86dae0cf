#include "data/draft.h"

#include <utility>

#include "core/check.h"

namespace pixelbert::data {

// A sample's key is made of the pair that was dealt, which occurs once an epoch, even if another pair stands in for it.
std::uint64_t Draft::sample_key(const Pair& pair, Purpose purpose) const {
  return key(stream.seed(), batch.at.epoch, pair.data_set, pair.text, purpose);
}

std::vector<std::int64_t> Draft::encode(const std::string& text) const {
  return tokenizer.encode(text, config.text.max_tokens);
}

void Draft::add_tokens(const std::vector<std::vector<std::int64_t>>& texts) {
  TokenRows rows = token_rows(texts, tokenizer.vocabulary().pad());
  batch.tokens = std::move(rows.tokens);
  batch.token_mask = std::move(rows.mask);
}

void Draft::check_label(bool is_there, const Pair& pair) const {
  const shards::ShardSet& data = reader.data_set(pair);
  PB_CHECK(is_there || config.unlabelled,
           "text {} of {} has no answer to learn from: these shards are for evaluation and prediction; train on shards "
           "made with annotations",
           data.text_id(pair.text), data.folder().string());
}

std::optional<Sample> Draft::draw_negative(std::int64_t index, std::uint64_t draw, From from) const {
  const std::int64_t of_step = batch.micro_batch.first + index;
  const std::optional<Pair> pair = from == From::Window ? stream.pair_of_another_image(batch.at, of_step, draw)
                                                        : stream.pair_of_any_image(batch.at, of_step, draw);
  if (!pair) return std::nullopt;
  try {
    return Sample{.pair = *pair, .text = reader.data_set(*pair).text(pair->text)};
  } catch (const shards::CorruptRecord&) {
    return std::nullopt;  // reported and counted when it is a sample itself
  }
}

}  // namespace pixelbert::data
