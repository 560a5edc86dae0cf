// If replicas have drifted apart, the message names the rank.
#include "train/checkpointer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "comm/mpi_communicator.h"
#include "core/check.h"
#include "tests/support/mpi_test.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::train {
namespace {

using test::session;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

TEST(Checkpointer, NamesTheRankWhoseWeightsAreOthers) {
  const test::TemporaryFolder folder;
  comm::MpiCommunicator communicator(session());
  const int ranks = session().world_size();
  for (int drifted = 0; drifted < ranks; ++drifted) {
    const auto savers = std::make_shared<comm::MpiCommunicator>(session());
    Checkpointer checkpointer({.folder = folder.path(), .writers = {0}, .communicator = savers}, {}, {}, communicator,
                              communicator);
    checkpoint::Checkpoint state;
    state.model["weight"] = at::full({3}, session().rank() == drifted ? 1.0 : 2.0);
    const auto named = [&](int rank) { return HasSubstr(fmt::format("rank {} on host {}", rank, session().host())); };
    for (int rank = 0; rank < ranks; ++rank) {
      const auto save = [&] {
        checkpointer.begin(state, held_by_all(state.optimizer));
        checkpointer.finish(state);
      };
      if (ranks == 2 || rank == drifted) {  // with two ranks, either may be wrong
        EXPECT_THAT(save, ThrowsMessage<SharedError>(named(rank)));
      } else {
        EXPECT_THAT(save, ThrowsMessage<SharedError>(Not(named(rank))));
      }
    }
  }
}

}  // namespace
}  // namespace pixelbert::train
