#include "evaluation/pair_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/solo_communicator.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::evaluation {
namespace {

TEST(ScorePairs, ABadPictureIsNamed) {
  const test::TemporaryFolder folder;
  std::vector<shards::Record> records = {test::record_of(41, {24, 24}, 1)};
  records[0].pictures[0].encoded.resize(60);
  const auto data = test::write_shards(folder.path() / "shards", records);
  const text::WordPiece tokenizer(test::vocabulary());
  model::PixelBert unused{nullptr};
  objectives::RetrievalImpl objective(8, 1);
  comm::SoloCommunicator alone;
  try {
    score_pairs({.data = *data,
                 .tokenizer = tokenizer,
                 .model = unused,
                 .objective = objective,
                 .config = {},
                 .control = alone},
                all_pairs(*data, 1), [](std::int64_t, const torch::Tensor&) {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("image 41 of " + (folder.path() / "shards").string() +
                                                 " cannot be used: a PNG cut short"));
  }
}

}  // namespace
}  // namespace pixelbert::evaluation
