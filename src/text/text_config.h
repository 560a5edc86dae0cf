// The options of texts.
#pragma once

#include <cstdint>
#include <string>

#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::text {

struct TextConfig {
  std::string vocab;
  std::int64_t max_tokens = 40;  // cuts next to none of COCO's captions
};

template <class Field>
void describe(TextConfig& config, Field&& field) {
  field("text.vocab", config.vocab, "vocabulary file; empty: the one in the shard folder or the checkpoint",
        OnResume::Free);
  field("text.max-tokens", config.max_tokens, "longer texts are cut, [CLS] and [SEP] counted");
}

inline void find_problems(const TextConfig& config, Problems& problems) {
  problems.at_least("text.max-tokens", config.max_tokens, 3);
}

}  // namespace pixelbert::text
