// Chooses the tokens of a text that are to be predicted (masked language modelling).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/wordpiece.h"

namespace pixelbert::data {

struct MaskedTokens {
  std::vector<std::int64_t> positions;  // in the text, rising
  std::vector<std::int64_t> labels;     // the original token
};

// Chooses each token that is not special with `probability` (0.15 in the paper, section 3.2), and replaces it in place
// as BERT does: 80 % by [MASK], 10 % by a token drawn from the whole vocabulary, 10 % by itself.
MaskedTokens mask_tokens(std::span<std::int64_t> tokens, const text::Vocabulary& vocabulary, double probability,
                         std::uint64_t key);

}  // namespace pixelbert::data
