#include "data/mlm_masking.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/rng.h"

namespace pixelbert::data {
namespace {

text::Vocabulary vocabulary_of(int words) {
  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (int i = 0; i < words; ++i) tokens.push_back("word" + std::to_string(i));
  return text::Vocabulary(std::move(tokens));
}

// 200,000 tokens, none special: 20 texts of 10,000.
struct Counts {
  double chosen = 0, masked = 0, kept = 0, random = 0;
  std::vector<double> drawn;  // by id, where the replacement is neither [MASK] nor the token itself
};

Counts count(double probability, const text::Vocabulary& vocabulary) {
  constexpr std::int64_t kTexts = 20, kLength = 10'000;
  Counts counts;
  counts.drawn.resize(static_cast<std::size_t>(vocabulary.size()));
  for (std::uint64_t text = 0; text < kTexts; ++text) {
    std::vector<std::int64_t> tokens(kLength, 7);
    const MaskedTokens masked = mask_tokens(tokens, vocabulary, probability, key(text, Purpose::kMasking));
    counts.chosen += static_cast<double>(masked.positions.size()) / (kTexts * kLength);
    for (const std::int64_t position : masked.positions) {
      const std::int64_t now = tokens[static_cast<std::size_t>(position)];
      counts.masked += now == vocabulary.mask();
      counts.kept += now == 7;
      counts.random += now != 7 && now != vocabulary.mask();
      ++counts.drawn[static_cast<std::size_t>(now)];
    }
  }
  const double chosen = counts.masked + counts.kept + counts.random;
  counts.masked /= chosen;
  counts.kept /= chosen;
  counts.random /= chosen;
  return counts;
}

TEST(MaskTokens, ChoosesTheAskedShareAndReplacesItEightyTenTen) {
  const text::Vocabulary vocabulary = vocabulary_of(995);
  const Counts counts = count(0.15, vocabulary);
  // Five standard deviations: sqrt(0.15 * 0.85 / 200,000) = 0.0008, sqrt(0.8 * 0.2 / 30,000) = 0.0023.
  EXPECT_NEAR(counts.chosen, 0.15, 0.004);
  EXPECT_NEAR(counts.masked, 0.8, 0.012);
  EXPECT_NEAR(counts.kept, 0.1, 0.009);
  EXPECT_NEAR(counts.random, 0.1, 0.009);
}

TEST(MaskTokens, DrawsReplacementsFromTheWholeVocabulary) {
  const text::Vocabulary vocabulary = vocabulary_of(15);  // 20 tokens
  const Counts counts = count(1, vocabulary);
  const double expected = 200'000 * 0.1 / 20;  // each, special tokens too
  for (std::int64_t id = 0; id < vocabulary.size(); ++id) {
    if (id == 7 || id == vocabulary.mask()) continue;  // these have other sources
    EXPECT_NEAR(counts.drawn[static_cast<std::size_t>(id)], expected, 5 * std::sqrt(expected)) << id;
  }
}

TEST(MaskTokens, LabelsAreTheTokensThatStoodThereAndOthersStay) {
  const text::Vocabulary vocabulary = vocabulary_of(995);
  std::vector<std::int64_t> original;
  for (std::int64_t i = 0; i < 900; ++i) original.push_back(5 + i);
  std::vector<std::int64_t> tokens = original;
  const MaskedTokens masked = mask_tokens(tokens, vocabulary, 0.3, 1);
  ASSERT_EQ(masked.positions.size(), masked.labels.size());
  ASSERT_FALSE(masked.positions.empty());
  std::size_t next = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (next < masked.positions.size() && masked.positions[next] == static_cast<std::int64_t>(i)) {
      EXPECT_EQ(masked.labels[next++], original[i]);
    } else {
      EXPECT_EQ(tokens[i], original[i]);
    }
  }
  EXPECT_EQ(next, masked.positions.size());
}

TEST(MaskTokens, NeverTouchesSpecialTokens) {
  const text::Vocabulary vocabulary = vocabulary_of(10);
  for (std::uint64_t key = 0; key < 200; ++key) {
    std::vector<std::int64_t> tokens = {2, 5, 1, 6, 4, 7, 3, 0};
    const MaskedTokens masked = mask_tokens(tokens, vocabulary, 1, key);
    EXPECT_EQ(masked.positions, (std::vector<std::int64_t>{1, 3, 5}));
    for (const std::size_t special : {0, 2, 4, 6, 7}) EXPECT_LT(tokens[special], 5);
  }
}

TEST(MaskTokens, IsDecidedByTheKey) {
  const text::Vocabulary vocabulary = vocabulary_of(100);
  const auto masked = [&](std::uint64_t key) {
    std::vector<std::int64_t> tokens(200, 50);
    mask_tokens(tokens, vocabulary, 0.15, key);
    return tokens;
  };
  EXPECT_EQ(masked(1), masked(1));
  EXPECT_NE(masked(1), masked(2));
}

}  // namespace
}  // namespace pixelbert::data
