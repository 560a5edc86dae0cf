#include "data/pair_choice.h"

#include <numeric>
#include <span>
#include <utility>

#include "core/rng.h"

namespace pixelbert::data {

void choose_pairs(std::vector<Sample>& samples, const DrawNegative& draw_negative, std::uint64_t key) {
  constexpr int kDraws = 16;
  std::vector<std::int64_t> order(samples.size());
  std::iota(order.begin(), order.end(), 0);
  Random random(key);
  random.shuffle(std::span(order));
  order.resize((samples.size() + random.below(2)) / 2);  // of an odd number one more or less

  for (const std::int64_t index : order) {
    Sample& sample = samples[index];
    Random draws(pixelbert::key(key, index, Purpose::kNegativeText));
    for (int draw = 0; draw < kDraws && sample.matched; ++draw) {
      std::optional<Sample> negative = draw_negative(index, draws.next());
      if (!negative || negative->pair.image == sample.pair.image || negative->text == sample.text) continue;
      sample.pair.text = negative->pair.text;
      sample.text = std::move(negative->text);
      sample.matched = false;
    }
  }
}

}  // namespace pixelbert::data
