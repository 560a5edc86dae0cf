#include "evaluation/pair_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/solo_communicator.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::evaluation {
namespace {

// Is never asked for a loss.
class NoObjective final : public objectives::Objective {
 public:
  const std::vector<std::string>& terms() const override { return terms_; }
  std::vector<std::int64_t> counts(const data::Batch&) const override { return {}; }
  std::vector<objectives::LossTerm> losses(model::PixelBert&, const data::Batch&) override { return {}; }

 private:
  std::vector<std::string> terms_;
};

TEST(ScorePairs, ABadImageIsNamed) {
  const test::TemporaryFolder folder;
  std::vector<shards::Record> records = {test::record_of(41, {24, 24}, 1)};
  records[0].images[0].encoded.resize(60);
  const data::DataSets data = {test::write_shards(folder.path() / "shards", records)};
  const text::WordPiece tokenizer(test::vocabulary());
  model::PixelBert unused{nullptr};
  NoObjective objective;
  comm::SoloCommunicator alone;
  try {
    score_pairs(
        {.data = data, .tokenizer = tokenizer, .model = unused, .objective = objective, .control = alone},
        all_pairs(*data[0], 1), [](const model::Encoded& encoded) { return encoded.hidden; },
        [](std::int64_t, const torch::Tensor&) {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("image 41 of " + (folder.path() / "shards").string() +
                                                 " cannot be used: a PNG cut short"));
  }
}

}  // namespace
}  // namespace pixelbert::evaluation
