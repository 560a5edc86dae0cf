#include "scenes/captions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "core/check.h"
#include "tests/scenes/oracle.h"

namespace pixelbert::scenes {
namespace {

constexpr std::int64_t kSize = 96;

struct Told {
  Scene scene;
  std::vector<Claim> claims;
};

std::vector<Told> tell(std::int64_t level, std::int64_t scenes, std::int64_t texts) {
  std::vector<Told> all;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(scenes); ++i) {
    Scene scene = make_scene(level, kSize, key(i, 0));
    std::vector<Claim> claims = captions(scene, level, texts, key(i, 1));
    all.push_back({std::move(scene), std::move(claims)});
  }
  return all;
}

class SceneCaptions : public ::testing::TestWithParam<std::int64_t> {};
INSTANTIATE_TEST_SUITE_P(Level, SceneCaptions, ::testing::Values(1, 2, 3));

TEST_P(SceneCaptions, AreTrue) {
  for (const Told& told : tell(GetParam(), 500, kMostTexts)) {
    for (const Claim& claim : told.claims) {
      const test::Reading reading = test::read(caption_forms(), say(claim));
      ASSERT_FALSE(test::fitting(told.scene, reading.slots).empty()) << say(claim);
      ASSERT_TRUE(holds(claim, told.scene)) << say(claim);
    }
  }
}

TEST_P(SceneCaptions, OfASceneAllDiffer) {
  for (const Told& told : tell(GetParam(), 500, kMostTexts)) {
    std::set<std::string> texts;
    for (const Claim& claim : told.claims) texts.insert(say(claim));
    ASSERT_EQ(texts.size(), static_cast<std::size_t>(kMostTexts));
  }
}

TEST_P(SceneCaptions, AreAFunctionOfTheirKey) {
  const Scene scene = make_scene(GetParam(), kSize, 1);
  const auto texts = [&](std::uint64_t key) {
    std::vector<std::string> said;
    for (const Claim& claim : captions(scene, GetParam(), 4, key)) said.push_back(say(claim));
    return said;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
}

// A caption of another scene is a negative in ITM: if it happens to be true, the label cannot be predicted.
TEST_P(SceneCaptions, AreHardlyEverTrueOfAnotherScene) {
  const std::vector<Told> all = tell(GetParam(), 1500, 4);
  std::int64_t others = 0, held = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t step = 1; step <= 50; ++step) {
      for (const Claim& claim : all[(i + step) % all.size()].claims) {
        ++others;
        held += holds(claim, all[i].scene);
      }
    }
  }
  EXPECT_LT(held, others / 200) << held << " of " << others;  // the header has the rates
  EXPECT_GT(held, 0);                                         // otherwise `holds` may always be false
}

// Predicting a masked word should mostly need the image.
TEST_P(SceneCaptions, AreMostlyAttributes) {
  std::set<std::string_view> attributes = {"top",   "bottom", "left",   "right",  "middle",
                                           "above", "below",  "larger", "smaller"};
  for (const auto words :
       {std::span<const std::string_view>(kShapeNames), std::span<const std::string_view>(kColourNames),
        std::span<const std::string_view>(kSizeNames)}) {
    attributes.insert(words.begin(), words.end());
  }
  std::int64_t words = 0, named = 0;
  for (const Told& told : tell(GetParam(), 500, 4)) {
    for (const Claim& claim : told.claims) {
      const std::string text = say(claim) + ' ';
      for (std::size_t begin = 0, end; (end = text.find(' ', begin)) != std::string::npos; begin = end + 1) {
        ++words;
        named += attributes.contains(std::string_view(text).substr(begin, end - begin));
      }
    }
  }
  EXPECT_GT(named, words * 45 / 100) << named << " of " << words;
}

TEST_P(SceneCaptions, UseEveryFormOfTheirLevel) {
  std::map<std::string_view, std::int64_t> uses;
  std::int64_t all = 0;
  for (const Told& told : tell(GetParam(), 1000, 4)) {
    for (const Claim& claim : told.claims) ++uses[claim.form], ++all;
  }
  EXPECT_EQ(uses.size(), GetParam() == 1 ? 12U : GetParam() == 2 ? 16U : 22U);
  for (const auto& [form, count] : uses) EXPECT_GT(count, all / 100) << form;
}

TEST(SceneCaptions, NameThreeAttributesOrMore) {
  for (const std::string_view form : caption_forms()) {
    EXPECT_GE(std::ranges::count(form, '{'), 3) << form;
    EXPECT_FALSE(names(form, 'n')) << form;
  }
}

TEST(SceneCaptions, AreRefusedWhenThereAreNotSoMany) {
  EXPECT_THROW(captions(make_scene(1, kSize, 1), 1, kMostTexts + 1, 1), Error);
  EXPECT_THROW(captions(make_scene(1, kSize, 1), 1, 0, 1), Error);
}

}  // namespace
}  // namespace pixelbert::scenes
