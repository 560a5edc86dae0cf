#include "data/sample_reader.h"

#include <algorithm>

#include "core/bad_sample.h"
#include "core/check.h"
#include "core/log.h"
#include "core/rng.h"

namespace pixelbert::data {

const shards::ShardSet& SampleReader::data_set(const Pair& pair) const {
  return *data_sets_[pair.data_set];
}

Sample SampleReader::read(const Pair& pair, std::uint64_t substitute_key, ImageStack& stack, BadSamples& bad) const {
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
      Sample sample = read_pair(candidate, stack);
      if (!reason.empty()) ++bad[reason];
      return sample;
    } catch (const images::BadImage& error) {
      reject(error.reason, error);
    } catch (const shards::CorruptRecord& error) {
      reject(bad_sample::kChecksum, error);
    }
    candidate = next_image(candidate, substitute_key);
    if (candidate.image == pair.image) break;  // all were tried
  }
  fail(
      fmt::format("expected a good image in {} in place of image {}, found only bad ones in a row, the last because: "
                  "{}. 'pixelbert inspect {}' tells what is broken",
                  data.folder().string(), data.image_id(pair.image), why, data.folder().string()));
}

Pair SampleReader::next_image(Pair pair, std::uint64_t text_key) const {
  const shards::ShardSet& data = data_set(pair);
  std::int64_t texts = 0;
  do {
    pair.image = (pair.image + 1) % data.images();
    texts = data.text_counts(pair.image, pair.image + 1)[0];
  } while (texts == 0);
  const std::uint64_t chosen = Random(text_key).below(static_cast<std::uint64_t>(texts));
  pair.text = data.first_text_of_image(pair.image) + static_cast<std::int64_t>(chosen);
  return pair;
}

std::vector<ImageRow> SampleReader::rows_of(const Pair& pair) const {
  std::vector<ImageRow> rows = {{pair.data_set, pair.image}};
  if (const std::int64_t second = data_set(pair).second_image_of_text(pair.text); second >= 0) {
    rows.push_back({pair.data_set, second});
  }
  return rows;
}

Sample SampleReader::read_pair(const Pair& pair, ImageStack& stack) const {
  const shards::ShardSet& data = data_set(pair);
  Sample sample{.pair = pair, .text = data.text(pair.text)};
  const std::vector<ImageRow> rows = rows_of(pair);
  if (stack.ends_with(rows)) return sample;
  const std::int64_t before = stack.size();
  try {
    for (const ImageRow& row : rows) stack.push(row, data.image(row.image));
  } catch (const Error&) {
    stack.shrink_to(before);  // all of them, or none is kept
    throw;
  }
  return sample;
}

void SampleReader::log_once(const Pair& pair, const std::string& why) const {
  {
    const std::lock_guard guard(logged_mutex_);
    if (!logged_.insert({pair.data_set, pair.image}).second) return;
  }
  const shards::ShardSet& data = data_set(pair);
  log::warn("image {} of {} cannot be used, another stands in for it: {}", data.image_id(pair.image),
            data.folder().string(), why);
}

}  // namespace pixelbert::data
