#include "drawing/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"
#include "images/image_ops.h"
#include "tests/data/tiny_shards.h"

namespace pixelbert::drawing {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

// A white image of 64 x 96 with a grid of 2 x 3; two words, two layers of one head.
AttentionMaps example() {
  AttentionMaps maps;
  const auto encoded = test::png_of({64, 96}, {255, 255, 255});
  maps.encoded = {encoded.begin(), encoded.end()};
  maps.height = 64;
  maps.width = 96;
  maps.rgb.assign(3 * 64 * 96, 255);
  maps.words = {"red", "</script>"};
  maps.layers = 2;
  maps.heads = 1;
  maps.rows = 2;
  maps.columns = 3;
  maps.cell = 32;
  maps.weights = {0.5f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.25f,   // layer 1
                  0.1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.75f};  // layer 2
  return maps;
}

TEST(Attention, IsThatOfALayerAndAHeadOrTheMean) {
  const AttentionMaps maps = example();
  EXPECT_THAT(attention_of(maps, 0, 1, 0), ElementsAre(0.1f, 0, 0, 0, 0, 0));
  EXPECT_THAT(attention_of(maps, 1, kMean, kMean), ElementsAre(0, 0, 0, 0, 0, 0.5f));
  EXPECT_THAT([&] { attention_of(maps, 0, 2, 0); }, ThrowsMessage<Error>(HasSubstr("layer 2")));
}

TEST(AttentionPng, ShowsTheCellsAWordLooksAtAndDarkensTheRest) {
  const std::string png = attention_png(example(), kMean, kMean);
  const torch::Tensor pixels = images::decode({reinterpret_cast<const std::uint8_t*>(png.data()), png.size()});
  // Two panels of 240 x 160 side by side, 12 apart from each other and the border.
  const auto brightness = [&](std::int64_t panel, std::int64_t row, std::int64_t column) {
    return pixels[12 + 80 * row + 40][12 + 252 * panel + 80 * column + 40][0].item<std::uint8_t>();
  };
  EXPECT_EQ(pixels.size(1), 12 + 2 * 252);
  for (std::int64_t cell = 0; cell < 6; ++cell) {
    EXPECT_EQ(brightness(0, cell / 3, cell % 3) > 200, cell == 0) << cell;
    EXPECT_EQ(brightness(1, cell / 3, cell % 3) > 200, cell == 5) << cell;
    EXPECT_TRUE(brightness(0, cell / 3, cell % 3) > 200 || brightness(0, cell / 3, cell % 3) < 100);
  }
  const torch::Tensor captions = pixels.slice(0, 12 + 160, 12 + 160 + 28);
  EXPECT_LT(captions.slice(1, 12, 252).min().item<std::uint8_t>(), 128) << "a word is written below";
}

TEST(AttentionPage, NeedsNothingFromOutsideAndSurvivesAnyWord) {
  const std::string page = attention_page(example());
  EXPECT_THAT(page, HasSubstr("data:image/png,%89%50%4E%47"));
  EXPECT_THAT(page, HasSubstr(R"("words":["red","<\/script>"])"));
  EXPECT_THAT(page, HasSubstr(R"("weights":[5000,0,0,0,0,0,0,0,0,0,0,2500,1000,)"));
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

}  // namespace
}  // namespace pixelbert::drawing
