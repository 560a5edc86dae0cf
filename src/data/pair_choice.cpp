#include "data/pair_choice.h"

#include <numeric>
#include <span>
#include <utility>

#include "core/rng.h"

namespace pixelbert::data {

void choose_pairs(std::vector<Sample>& samples, const DrawForeign& draw_foreign, std::uint64_t key) {
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
      std::optional<Sample> foreign = draw_foreign(index, draws.next());
      if (!foreign || foreign->pair.image == sample.pair.image || foreign->text == sample.text) continue;
      sample.pair.text = foreign->pair.text;
      sample.text = std::move(foreign->text);
      sample.matched = false;
    }
  }
}

}  // namespace pixelbert::data
