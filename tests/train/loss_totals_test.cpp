#include "train/loss_totals.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "comm/solo_communicator.h"
#include "tests/support/thread_ranks.h"

namespace pixelbert::train {
namespace {

std::vector<objectives::LossTerm> terms(double mlm, double mlm_correct, double itm, double itm_correct) {
  return {{at::scalar_tensor(mlm), at::scalar_tensor(mlm_correct)},
          {at::scalar_tensor(itm), at::scalar_tensor(itm_correct)}};
}

void finish(LossTotals& totals) {
  totals.finish(at::cat(totals.kept()));
}

TEST(LossTotals, DividesSumsByCountsOfAllMicroBatches) {
  comm::SoloCommunicator solo;
  LossTotals totals({"mlm", "itm"}, 2, {{3, 4}, {5, 4}}, solo);
  totals.keep(0, terms(6, 1, 2, 4));
  totals.keep(1, terms(10, 2, 6, 0));
  const auto veto = totals.veto().item<float>();
  finish(totals);
  EXPECT_EQ(totals.count(0), 8);
  EXPECT_EQ(totals.mean(0), 2);
  EXPECT_EQ(totals.mean(1), 1);
  EXPECT_EQ(totals.accuracy(0), 3.0 / 8);
  EXPECT_EQ(totals.accuracy(1), 0.5);
  EXPECT_EQ(veto, 0);
}

TEST(LossTotals, GivesEachMicroBatchItsShareOfTheMean) {
  comm::SoloCommunicator solo;
  LossTotals totals({"mlm", "itm"}, 2, {{3, 4}, {5, 4}}, solo);
  EXPECT_FLOAT_EQ(totals.loss(terms(6, 0, 2, 0)).item<float>(), 6.0f / 8 + 2.0f / 8);
}

TEST(LossTotals, IsTheSameInWhateverOrderMicroBatchesAreKept) {
  comm::SoloCommunicator solo;
  double sums[2];
  for (const bool forwards : {true, false}) {
    LossTotals totals({"mlm", "itm"}, 3, {{1, 1}, {1, 1}, {1, 1}}, solo);
    const std::vector<double> values = {1e16, 1, -1e16};
    for (const std::int64_t i : forwards ? std::vector<std::int64_t>{0, 1, 2} : std::vector<std::int64_t>{2, 1, 0}) {
      totals.keep(i, terms(values[static_cast<std::size_t>(i)], 0, 0, 0));
    }
    finish(totals);
    sums[forwards] = totals.sum(0);
  }
  EXPECT_EQ(sums[0], sums[1]);
}

TEST(LossTotals, IsZeroNotNanWithoutAnythingCounted) {
  comm::SoloCommunicator solo;
  LossTotals totals({"mlm", "itm"}, 1, {{0, 4}}, solo);
  totals.keep(0, terms(0, 0, 4, 2));
  EXPECT_EQ(totals.loss(terms(0, 0, 4, 2)).item<float>(), 1.0f);
  finish(totals);
  EXPECT_EQ(totals.mean(0), 0);
  EXPECT_EQ(totals.accuracy(0), 0);
}

TEST(LossTotals, NamesTheFirstMicroBatchThatIsNotFinite) {
  comm::SoloCommunicator solo;
  LossTotals totals({"mlm", "itm"}, 3, {{1, 1}, {1, 1}, {1, 1}}, solo);
  totals.keep(0, terms(1, 0, 1, 0));
  totals.keep(1, terms(1, 0, NAN, 0));
  totals.keep(2, terms(1, 0, INFINITY, 0));
  EXPECT_TRUE(std::isnan(totals.veto().item<float>()));
  finish(totals);
  EXPECT_EQ(totals.first_not_finite(0), -1);
  EXPECT_EQ(totals.first_not_finite(1), 1);
}

TEST(LossTotals, CarriesRequests) {
  comm::SoloCommunicator solo;
  LossTotals totals({"mlm", "itm"}, 0, {}, solo);
  EXPECT_FALSE(totals.veto().defined());
  totals.finish(at::empty({0}, at::kDouble), {.stop = false, .save = true, .end = true});
  EXPECT_FALSE(totals.requests().stop);
  EXPECT_TRUE(totals.requests().save);
  EXPECT_TRUE(totals.requests().end);
}

TEST(LossTotals, CarriesEachRequestOfOneRankToAll) {
  const std::vector<Requests> requests = {{}, {.stop = true}, {.save = true}, {.end = true}};
  for (std::size_t i = 0; i < requests.size(); ++i) {
    for (int asking = 0; asking < 3; ++asking) {
      test::ThreadRanks({0, 0, 0}).run([&](comm::Communicator& communicator) {
        LossTotals totals({"mlm", "itm"}, 0, {}, communicator);
        totals.finish(at::empty({0}, at::kDouble), communicator.rank() == asking ? requests[i] : Requests());
        const Requests found = totals.requests();
        EXPECT_EQ(found.stop, requests[i].stop) << "request " << i << " of rank " << asking;
        EXPECT_EQ(found.save, requests[i].save) << "request " << i << " of rank " << asking;
        EXPECT_EQ(found.end, requests[i].end) << "request " << i << " of rank " << asking;
      });
    }
  }
}

}  // namespace
}  // namespace pixelbert::train
