#include "checkpoint/checkpoint_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "checkpoint/manifest.h"
#include "checkpoint/verify.h"
#include "core/check.h"
#include "core/files.h"
#include "tests/checkpoint/examples.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAre;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

void flip_a_bit(const fs::path& path, std::streamoff offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const char byte = static_cast<char>(file.get());
  file.seekp(offset);
  file.put(static_cast<char>(byte ^ 1));
}

class CheckpointStore : public testing::Test {
 protected:
  fs::path save_step(std::int64_t step, std::int64_t keep = 3) { return save(folder_, example(step), keep); }

  test::TemporaryFolder temporary_;
  fs::path run_ = temporary_.path() / "run";
  fs::path folder_ = run_ / "checkpoints";
};

TEST_F(CheckpointStore, GivesBackWhatWasSaved) {
  const fs::path step_folder = save_step(1000);
  EXPECT_EQ(step_folder, folder_ / "step-000001000");
  EXPECT_THAT(names_in(step_folder), UnorderedElementsAre("model.safetensors", "optimizer.safetensors", "trainer.json",
                                                          "vocab.txt", "manifest.json"));
  for (const fs::path& path : {step_folder, folder_ / "latest"}) EXPECT_TRUE(equal(load(path), example(1000))) << path;
  EXPECT_TRUE(equal(load_newest(folder_).value(), example(1000)));
  for (const fs::path& path : {step_folder, folder_, run_, folder_ / "latest"}) {
    EXPECT_TRUE(equal(load_model(path).model, example(1000).model)) << path;
  }
}

TEST_F(CheckpointStore, ReadsTheModelWithoutTheOptimizersFile) {
  const fs::path step_folder = save_step(1);
  fs::remove(step_folder / kOptimizerName);
  const Checkpoint loaded = load_model(step_folder);
  EXPECT_TRUE(equal(loaded.model, example(1).model));
  EXPECT_THAT(loaded.optimizer, IsEmpty());
  EXPECT_EQ(loaded.vocabulary, "[PAD]\n[UNK]\n");
  EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("optimizer.safetensors: No such file")));
}

TEST_F(CheckpointStore, KeepsTheNewestAndPointsAtTheLast) {
  for (const std::int64_t step : {5, 10, 15, 20, 25}) {
    save_step(step, 2);
    EXPECT_EQ(fs::read_symlink(folder_ / "latest"), step_name(step));
  }
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000020", "step-000000025", "latest"));
  EXPECT_EQ(load_newest(folder_).value().step, 25);
}

TEST_F(CheckpointStore, KeepsTheOneJustSavedWhateverElseLiesThere) {
  save_step(30);
  flip_a_bit(folder_ / step_name(30) / kModelName, 300);
  save_step(20);
  save_step(25, 1);  // a run that went back to an older checkpoint
  EXPECT_THAT(steps_in(folder_), ElementsAre(30, 25));
  EXPECT_TRUE(equal(load_newest(folder_).value(), example(25)));
  save_step(30, 1);  // and has reached the damaged one again
  EXPECT_THAT(steps_in(folder_), ElementsAre(30));
  EXPECT_TRUE(equal(load_newest(folder_).value(), example(30)));
}

TEST_F(CheckpointStore, HasNothingBeforeTheFirstSave) {
  EXPECT_FALSE(load_newest(folder_));
  EXPECT_FALSE(describe_newest(folder_));
  EXPECT_FALSE(is_checkpoint(run_));
  EXPECT_THAT([&] { load_model(run_); }, ThrowsMessage<Error>(AllOf(HasSubstr("no checkpoint at " + run_.string()),
                                                                    HasSubstr("expected a step-... folder"))));
}

TEST_F(CheckpointStore, PassesOverADamagedNewestAndNamesIt) {
  for (const char* name : {kModelName, kOptimizerName, kTrainerName, kVocabularyName, kManifestName}) {
    for (const bool missing : {false, true}) {
      save_step(1);
      const fs::path damaged = save_step(2);
      missing ? static_cast<void>(fs::remove(damaged / name)) : flip_a_bit(damaged / name, 5);
      testing::internal::CaptureStdout();  // spdlog's default, before log::start
      EXPECT_TRUE(equal(load_newest(folder_).value(), example(1))) << name;
      EXPECT_THAT(testing::internal::GetCapturedStdout(),
                  AllOf(HasSubstr("is damaged and passed over"), HasSubstr((damaged / name).string())));
      EXPECT_THAT([&] { load(damaged); }, ThrowsMessage<Error>(HasSubstr((damaged / name).string())));
      // For use a checkpoint needs no optimizer.
      const bool usable = name == std::string_view(kOptimizerName);
      EXPECT_TRUE(equal(load_model(run_).model, example(usable ? 2 : 1).model)) << name;
      fs::remove_all(folder_);
    }
  }
}

TEST_F(CheckpointStore, FindsAFlippedBitWhereverItIs) {
  const fs::path step_folder = save_step(1);
  const auto model = step_folder / kModelName;
  const auto size = static_cast<std::streamoff>(fs::file_size(model));
  for (std::streamoff offset = 0; offset < size; offset += 97) {
    flip_a_bit(model, offset);
    EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("model.safetensors has checksum")));
    flip_a_bit(model, offset);
  }
  EXPECT_TRUE(equal(load(step_folder), example(1)));
}

TEST_F(CheckpointStore, DoesNotStartOverInSilenceWhenAllAreDamaged) {
  for (const std::int64_t step : {1, 2}) fs::resize_file(save_step(step) / kModelName, 10);
  EXPECT_THAT([&] { load_newest(folder_); },
              ThrowsMessage<Error>(HasSubstr("all 2 checkpoints in " + folder_.string() + " are damaged")));
}

TEST_F(CheckpointStore, RefusesAFormatItDoesNotKnow) {
  const fs::path step_folder = save_step(1);
  write_file(step_folder / kManifestName, R"({"format": "pixelbert-checkpoint", "version": 2})");
  EXPECT_THAT([&] { load(step_folder); },
              ThrowsMessage<Error>(HasSubstr("manifest.json is format 2, this build reads 1")));
  write_file(step_folder / kManifestName, R"({"format": "pixelbert-shards", "version": 1})");
  EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("is no manifest of a checkpoint")));
  write_file(step_folder / kManifestName,
             R"({"format": "pixelbert-checkpoint", "version": 1, "step": 1, "files": {}})");
  EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("does not list model.safetensors")));
}

// A disk that takes no more bytes; the limit on a file's size stands in for it.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit tight{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &tight);
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(CheckpointStore, LeavesNothingHalfWrittenWhenTheDiskIsFull) {
  save_step(1, 1);
  for (const rlim_t bytes : {0, 20, 200, 4000}) {
    {
      const FullDisk full(bytes);
      EXPECT_THAT(
          [&] { save_step(2, 1); },
          ThrowsMessage<Error>(AllOf(HasSubstr("cannot save the checkpoint of step 2: cannot write"),
                                     HasSubstr("File too large"), HasSubstr("older checkpoints are untouched"))))
          << bytes << " bytes";
    }
    EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000001", "latest"));
    EXPECT_TRUE(equal(load_newest(folder_).value(), example(1)));
  }
  Checkpoint large = example(2);
  large.optimizer["itm.bias.exp_avg"] = at::ones({2000});
  {
    const FullDisk full(6000);  // the model's file still fits
    EXPECT_THAT([&] { save(folder_, large, 1); },
                ThrowsMessage<Error>(HasSubstr("optimizer.safetensors: File too large")));
  }
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000001", "latest"));
  save(folder_, large, 1);
  EXPECT_TRUE(equal(load_newest(folder_).value(), large));
}

TEST_F(CheckpointStore, IsSavedAlsoWhereAnOldOneCannotBeRemoved) {
  // As on NFS a folder with a file that somebody reads: here with one that is mounted.
  const fs::path busy = save_step(1) / "busy";
  fs::create_directory(busy);
  ASSERT_EQ(::mount("none", busy.c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno) << ": run tests as root";
  for (const std::int64_t step : {2, 3}) {
    testing::internal::CaptureStdout();  // spdlog's default, before log::start
    EXPECT_NO_THROW(save_step(step, 1));
    EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("is left behind: "));
    EXPECT_TRUE(equal(load_newest(folder_).value(), example(step)));
  }
  ASSERT_EQ(::umount((folder_ / ".removing-step-000000001" / "busy").c_str()), 0) << std::strerror(errno);
  save_step(4, 1);
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000004", "latest"));
}

TEST_F(CheckpointStore, IsDescribedWithoutItsTensors) {
  save_step(1);
  fs::resize_file(save_step(2) / kModelName, 10);
  const Checkpoint newest = describe_newest(folder_).value();
  EXPECT_EQ(newest.step, 2);
  EXPECT_EQ(newest.trainer, example(2).trainer);
  EXPECT_EQ(newest.vocabulary, example(2).vocabulary);
  EXPECT_THAT(newest.model, IsEmpty());
}

TEST_F(CheckpointStore, SaysWhyTheFolderCannotBeMade) {
  write_file(temporary_.path() / "run", "a file");
  EXPECT_THAT([&] { save_step(1); }, ThrowsMessage<Error>(AllOf(HasSubstr("cannot save the checkpoint of step 1"),
                                                                HasSubstr("Not a directory"))));
}

TEST_F(CheckpointStore, IgnoresFoldersThatAreNotCheckpoints) {
  save_step(7);
  for (const char* name : {"step-", "step-7", "step-000000009x", "step--00000009", "notes", ".saving-step-000000008"}) {
    fs::create_directory(folder_ / name);
  }
  EXPECT_THAT(steps_in(folder_), ElementsAre(7));
  EXPECT_EQ(load_newest(folder_).value().step, 7);
}

TEST_F(CheckpointStore, KeepsStepsInOrderBeyondNineDigits) {
  save_step(999'999'999);
  save_step(1'000'000'000);
  EXPECT_THAT(steps_in(folder_), ElementsAre(1'000'000'000, 999'999'999));
}

TEST_F(CheckpointStore, IsDescribedAndVerified) {
  const fs::path step_folder = save_step(1000);
  for (const fs::path& path : {step_folder, folder_, run_, folder_ / "latest"}) {
    ASSERT_TRUE(is_checkpoint(path)) << path;
    const Report report = verify(path);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_THAT(report.summary, AllOf(HasSubstr("step          1000, format 1"), HasSubstr("model.safetensors"),
                                      HasSubstr("2 tensors of 1177 values")));
  }
  flip_a_bit(step_folder / kModelName, 400);
  fs::remove(step_folder / kVocabularyName);
  EXPECT_THAT(verify(run_).problems,
              UnorderedElementsAre(HasSubstr("model.safetensors has checksum"), HasSubstr("vocab.txt: No such file")));
  EXPECT_FALSE(is_checkpoint(temporary_.path()));
}

}  // namespace
}  // namespace pixelbert::checkpoint
