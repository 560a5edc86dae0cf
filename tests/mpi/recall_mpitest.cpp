// The recalls equal those of one process, whichever rank adds an image, for the whole set and for the folds.
#include "evaluation/recall.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "comm/make_communicator.h"
#include "comm/solo_communicator.h"
#include "tests/support/mpi_test.h"

namespace pixelbert::evaluation {
namespace {

using test::session;

TEST(Recall, IsThatOfOneProcess) {
  const std::int64_t images = 2100;  // two whole folds and a remainder
  std::vector<std::int64_t> image_of_text;
  for (std::int64_t image = 0; image < images; ++image) {
    image_of_text.insert(image_of_text.end(), static_cast<std::size_t>(1 + image % 2), image);
  }
  Recall here(images, image_of_text), whole(images, image_of_text);
  for (std::int64_t image = 0; image < images; ++image) {
    at::manual_seed(static_cast<std::uint64_t>(image));
    at::Tensor scores = at::randn({std::ssize(image_of_text)}).mul(20).round();  // with many ties
    for (std::size_t text = 0; text < image_of_text.size(); ++text) {
      if (image_of_text[text] == image) scores[static_cast<std::int64_t>(text)] += 60;
    }
    const std::span<const float> row(scores.const_data_ptr<float>(), image_of_text.size());
    whole.add(image, row);
    if (image % session().world_size() == session().rank()) here.add(image, row);
  }
  comm::SoloCommunicator solo;
  const Metrics expected = whole.figures(solo);
  EXPECT_GT(expected.at("ir_r1_1k"), expected.at("ir_r1"));
  EXPECT_LT(expected.at("ir_r1_1k"), 1);
  EXPECT_EQ(here.figures(*comm::make_control_communicator(session())), expected);
}

}  // namespace
}  // namespace pixelbert::evaluation
