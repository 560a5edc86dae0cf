#include "train/background_save.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <mutex>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "core/files.h"
#include "tests/support/save.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"

namespace pixelbert::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

checkpoint::Checkpoint example(std::int64_t step) {
  const auto numbers = [step](std::int64_t count) { return at::arange(count, at::kFloat) * step; };
  checkpoint::Checkpoint run;
  run.step = step;
  run.vocabulary = "[PAD]\n";
  run.model = {{"kernel", numbers(64 * 5 * 9).view({64, 5, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast)},
               {"words", numbers(3000 * 400).view({3000, 400})},
               {"batches", at::full({}, 7, at::kLong)},
               {"nothing", at::zeros({0, 4})}};
  run.optimizer = {{"kernel.momentum", run.model["kernel"] + 0.5},
                   {"words.exp_avg", run.model["words"] - 1},
                   {"words.step", at::full({}, 3.0)}};
  return run;
}

// What a rank of several has of a checkpoint: all weights, and a part of each tensor of the optimizer.
HeldTensors held_by(int rank, int ranks, const checkpoint::NamedTensors& optimizer) {
  HeldTensors held;
  for (const auto& [name, tensor] : optimizer) {
    HeldTensor& part = held[name];
    part.like = tensor;
    const std::int64_t size = tensor.numel();
    for (int of = 0; of < ranks; ++of) {
      const comm::Range elements = {.begin = size * of / ranks, .end = size * (of + 1) / ranks};
      if (elements.size() == 0) continue;
      part.holdings.push_back({.rank = of, .elements = elements});
      if (of == rank) part.own = tensor.as_strided({elements.size()}, {1}, elements.begin).clone();
    }
  }
  return held;
}

// A copy for each rank, which it may change.
HeldTensors copies_of(const checkpoint::NamedTensors& tensors) {
  HeldTensors held;
  for (const auto& [name, tensor] : tensors) held[name] = {.like = tensor, .own = tensor.clone(), .holdings = {}};
  return held;
}

// Saves on ranks of these hosts. `change` may change what a rank has. Returns the outcome of each rank.
template <class Change>
std::vector<SaveOutcome> save(const checkpoint::Checkpoint& run, const fs::path& folder, const std::vector<int>& hosts,
                              Change change) {
  std::vector<SaveOutcome> outcomes(hosts.size());
  std::vector<int> writers;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    if (hosts[rank] == hosts[0]) writers.push_back(static_cast<int>(rank));
  }
  test::ThreadRanks savers(hosts);
  test::ThreadRanks(hosts).run([&](comm::Communicator& communicator) {
    const int rank = communicator.rank();
    HeldTensors model = copies_of(run.model);
    HeldTensors optimizer = held_by(rank, communicator.world_size(), run.optimizer);
    change(rank, model, optimizer);
    const auto saver = std::make_shared<test::ThreadRanks::Communicator>(savers, rank);
    BackgroundSave save({.folder = folder, .writers = writers, .communicator = saver}, run, model, optimizer);
    save.wait_until_read();
    for (auto& [name, tensor] : model) tensor.own.zero_();  // as the next update might
    for (auto& [name, tensor] : optimizer) {
      if (tensor.own.defined()) tensor.own.zero_();
    }
    outcomes[static_cast<std::size_t>(rank)] = save.wait();
    EXPECT_TRUE(save.done());
  });
  return outcomes;
}

std::vector<SaveOutcome> save(const checkpoint::Checkpoint& run, const fs::path& folder,
                              const std::vector<int>& hosts) {
  return save(run, folder, hosts, [](int, HeldTensors&, HeldTensors&) {});
}

TEST(BackgroundSave, WritesTheBytesOfASaveInOnePiece) {
  const test::TemporaryFolder folder;
  const checkpoint::Checkpoint run = example(3);
  const fs::path expected = test::save(folder.path() / "expected", run, 1);
  int round = 0;
  for (const std::vector<int>& hosts : {std::vector{0}, {0, 0}, {0, 0, 0}, {0, 1}, {0, 1, 1}, {0, 0, 1, 1, 1}}) {
    const fs::path found = folder.path() / std::to_string(round++);
    for (const SaveOutcome& outcome : save(run, found, hosts)) EXPECT_EQ(outcome.failure, "");
    for (const auto& file : fs::directory_iterator(expected)) {
      EXPECT_EQ(read_file(found / "step-000000003" / file.path().filename()), read_file(file.path()))
          << file.path() << ", ranks on hosts " << fmt::format("{}", fmt::join(hosts, " "));
    }
    EXPECT_EQ(fs::read_symlink(found / "latest"), "step-000000003");
  }
}

TEST(BackgroundSave, LeavesNothingIfAFileCannotBeMade) {
  const test::TemporaryFolder folder;
  write_file(folder.path() / "checkpoints", "in the way");
  for (const SaveOutcome& outcome : save(example(3), folder.path() / "checkpoints", {0, 0, 1})) {
    EXPECT_THAT(outcome.failure, HasSubstr("cannot save the checkpoint of step 3"));
    EXPECT_FALSE(outcome.fatal);
  }
}

TEST(BackgroundSave, NamesTheRankThatTrainsAnotherModel) {
  const test::TemporaryFolder folder;
  const auto outcomes = save(example(3), folder.path(), {0, 0, 1}, [](int rank, HeldTensors& model, HeldTensors&) {
    if (rank == 2) model["words"].own.view(-1)[100] += 1;
  });
  for (const SaveOutcome& outcome : outcomes) {
    EXPECT_TRUE(outcome.fatal);
    EXPECT_THAT(outcome.failure, HasSubstr("the CRC-32C of the weights differs on rank 2 on host"));
    EXPECT_THAT(outcome.failure, testing::Not(HasSubstr("rank 1 on host")));
  }
  EXPECT_TRUE(checkpoint::steps_in(folder.path()).empty());
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(BackgroundSave, RefusesAStateThatIsNotFinite) {
  const test::TemporaryFolder folder;
  const auto outcomes = save(example(3), folder.path(), {0, 0, 1}, [](int rank, HeldTensors&, HeldTensors& optimizer) {
    if (rank == 2) optimizer["kernel.momentum"].own[5] = NAN;
  });
  for (const SaveOutcome& outcome : outcomes) {
    EXPECT_TRUE(outcome.fatal);
    EXPECT_THAT(outcome.failure, HasSubstr("step 3: tensor 'kernel.momentum' holds values that are not finite"));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace pixelbert::train
