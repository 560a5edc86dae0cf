#include "data/mlm_masking.h"

#include "core/rng.h"

namespace pixelbert::data {

MaskedTokens mask_tokens(std::span<std::int64_t> tokens, const text::Vocabulary& vocabulary, double probability,
                         std::uint64_t key) {
  MaskedTokens masked;
  Random random(key);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (vocabulary.is_special(tokens[i]) || random.uniform() >= probability) continue;
    masked.positions.push_back(static_cast<std::int64_t>(i));
    masked.labels.push_back(tokens[i]);
    const double replacement = random.uniform();
    if (replacement < 0.8) {
      tokens[i] = vocabulary.mask();
    } else if (replacement < 0.9) {
      tokens[i] = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(vocabulary.size())));
    }
  }
  return masked;
}

}  // namespace pixelbert::data
