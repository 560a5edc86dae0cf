#include "checkpoint/checkpoint_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

#include "checkpoint/manifest.h"
#include "checkpoint/verify.h"
#include "core/check.h"
#include "core/files.h"
#include "tests/checkpoint/examples.h"
#include "tests/support/save.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
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
  fs::path save_step(std::int64_t step, std::int64_t keep = 3) { return test::save(folder_, example(step), keep); }

  test::TemporaryFolder temporary_;
  fs::path run_ = temporary_.path() / "run";
  fs::path folder_ = run_ / "checkpoints";
};

TEST_F(CheckpointStore, GivesBackWhatWasSaved) {
  const fs::path step_folder = save_step(1000);
  EXPECT_EQ(step_folder, folder_ / "step-000001000");
  EXPECT_THAT(names_in(step_folder), UnorderedElementsAre("model.safetensors", "optimizer.safetensors", "trainer.json",
                                                          "vocab.txt", "manifest.json"));
  for (const fs::path& path : {step_folder, folder_ / "latest"})
    EXPECT_TRUE(equal(load(path).value(), example(1000))) << path;
  EXPECT_TRUE(equal(load(folder_).value(), example(1000)));
  for (const fs::path& path : {step_folder, folder_, run_, folder_ / "latest"}) {
    EXPECT_TRUE(equal(load_weights(path).model, example(1000).model)) << path;
  }
}

TEST_F(CheckpointStore, ReadsTheModelWithoutTheOptimizersFile) {
  const fs::path step_folder = save_step(1);
  fs::remove(step_folder / kOptimizerName);
  const Weights loaded = load_weights(step_folder);
  EXPECT_TRUE(equal(loaded.model, example(1).model));
  EXPECT_EQ(loaded.vocabulary, "[PAD]\n[UNK]\n");
  EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("optimizer.safetensors: No such file")));
}

TEST_F(CheckpointStore, KeepsTheNewestAndPointsAtTheLast) {
  for (const std::int64_t step : {5, 10, 15, 20, 25}) {
    save_step(step, 2);
    EXPECT_EQ(fs::read_symlink(folder_ / "latest"), step_name(step));
  }
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000020", "step-000000025", "latest"));
  EXPECT_EQ(load(folder_).value().step, 25);
}

TEST_F(CheckpointStore, KeepsTheOneJustSavedWhateverElseLiesThere) {
  save_step(30);
  flip_a_bit(folder_ / step_name(30) / kModelName, 300);
  save_step(20);
  save_step(25, 1);  // a run that went back to an older checkpoint
  EXPECT_THAT(steps_in(folder_), ElementsAre(30, 25));
  EXPECT_TRUE(equal(load(folder_).value(), example(25)));
  save_step(30, 1);  // and has reached the damaged one again
  EXPECT_THAT(steps_in(folder_), ElementsAre(30));
  EXPECT_TRUE(equal(load(folder_).value(), example(30)));
}

TEST_F(CheckpointStore, HasNothingBeforeTheFirstSave) {
  EXPECT_FALSE(load(folder_));
  EXPECT_FALSE(describe(folder_));
  EXPECT_FALSE(is_checkpoint(run_));
  EXPECT_THAT([&] { load_weights(run_); }, ThrowsMessage<Error>(AllOf(HasSubstr("no checkpoint at " + run_.string()),
                                                                      HasSubstr("expected a step-... folder"))));
}

TEST_F(CheckpointStore, PassesOverADamagedNewestAndNamesIt) {
  for (const char* name : {kModelName, kOptimizerName, kTrainerName, kVocabularyName, kManifestName}) {
    for (const bool missing : {false, true}) {
      save_step(1);
      const fs::path damaged = save_step(2);
      missing ? static_cast<void>(fs::remove(damaged / name)) : flip_a_bit(damaged / name, 5);
      testing::internal::CaptureStdout();  // spdlog's default, before log::start
      EXPECT_TRUE(equal(load(folder_).value(), example(1))) << name;
      EXPECT_THAT(testing::internal::GetCapturedStdout(),
                  AllOf(HasSubstr("is damaged and skipped"), HasSubstr((damaged / name).string())));
      EXPECT_THAT([&] { load(damaged); }, ThrowsMessage<Error>(HasSubstr((damaged / name).string())));
      // load_weights() does not need the optimizer.
      const bool usable = name == std::string_view(kOptimizerName);
      EXPECT_TRUE(equal(load_weights(run_).model, example(usable ? 2 : 1).model)) << name;
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
  EXPECT_TRUE(equal(load(step_folder).value(), example(1)));
}

TEST_F(CheckpointStore, DoesNotStartOverInSilenceWhenAllAreDamaged) {
  for (const std::int64_t step : {1, 2}) fs::resize_file(save_step(step) / kModelName, 10);
  EXPECT_THAT([&] { load(folder_); },
              ThrowsMessage<Error>(HasSubstr("all 2 checkpoints in " + folder_.string() + " are damaged")));
}

TEST_F(CheckpointStore, RefusesAFormatItDoesNotKnow) {
  const fs::path step_folder = save_step(1);
  write_file(step_folder / kManifestName, R"({"format": "pixelbert-checkpoint", "version": 2})");
  EXPECT_THAT([&] { load(step_folder); },
              ThrowsMessage<Error>(HasSubstr("manifest.json is format 2, this build reads 1")));
  write_file(step_folder / kManifestName, R"({"format": "pixelbert-shards", "version": 1})");
  EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("is not the manifest of a checkpoint")));
  write_file(step_folder / kManifestName,
             R"({"format": "pixelbert-checkpoint", "version": 1, "step": 1, "files": {}})");
  EXPECT_THAT([&] { load(step_folder); }, ThrowsMessage<Error>(HasSubstr("does not list model.safetensors")));
}

// Reads a checkpoint with `content` as that file and correct checksums.
std::string message_of(const fs::path& step_folder, const char* name, const std::string& content) {
  write_file(step_folder / name, content);
  if (name != std::string_view(kManifestName)) {
    Manifest manifest = read_manifest(step_folder);
    manifest.files[name] = {static_cast<std::int64_t>(content.size()), crc32c_of_file(step_folder / name)};
    write_manifest(step_folder, manifest);
  }
  try {
    load(step_folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(CheckpointStore, NamesWhatIsWrongInAManifest) {
  const fs::path step_folder = save_step(1);
  const std::string sound = read_file(step_folder / kManifestName);
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& message) {
    std::string content = sound;
    ASSERT_NE(content.find(from), std::string::npos) << from;
    content.replace(content.find(from), from.size(), to);
    EXPECT_THAT(
        message_of(step_folder, kManifestName, content),
        AllOf(HasSubstr(step_folder.string()), HasSubstr(message), Not(HasSubstr("\n")), Not(HasSubstr("exception"))));
  };
  refused("\"version\": 1", "\"version\": 1.2", "'version' is 1.2, expected a whole number");
  refused("\"version\": 1", "\"version\": \"1\"", "'version' is \"1\", expected a whole number");
  refused("\"step\": 1", "\"step\": -1", "'step' is -1, expected a whole number from 0");
  refused("\"step\": 1", "\"step\": 2", "trainer.json is of step 1, the checkpoint of step 2");
  refused("\"step\": 1,", "", "has no 'step'");
  refused("\"files\": {", "\"files\": 7, \"x\": {", "'files' is not an object");
  refused("\"vocab.txt\": {", "\"../vocab.txt\": {", "lists '../vocab.txt', expected");
  refused("\"crc32c\": ", "\"crc32c\": 9", "'crc32c' is 9");
  refused("\"bytes\": ", "\"bytes\": -", "'bytes' is -");
  refused("{", std::string(100'000, '['), "levels deep");
  refused("{", "", "is not JSON: line 2, column 10");
  EXPECT_EQ(message_of(step_folder, kManifestName, "\xef\xbb\xbf" + sound), "");
}

TEST_F(CheckpointStore, NamesWhatIsWrongInATrainersState) {
  const fs::path step_folder = save_step(1);
  const nlohmann::json sound = to_json(example(1));
  const auto message = [&](const std::string& content) { return message_of(step_folder, kTrainerName, content); };
  const auto refused = [&](const char* name, const nlohmann::json& value, const std::string& expected) {
    nlohmann::json content = sound;
    content[name] = value;
    EXPECT_THAT(message(content.dump()), AllOf(HasSubstr((step_folder / kTrainerName).string()), HasSubstr(expected),
                                               Not(HasSubstr("exception"))));
  };
  for (const char* name : {"step", "samples", "position", "config", "data", "world_sizes"}) {
    nlohmann::json content = sound;
    content.erase(name);
    EXPECT_THAT(message(content.dump()),
                HasSubstr(fmt::format("{} has no '{}'", (step_folder / kTrainerName).string(), name)));
  }
  refused("step", 2, "is of step 2, the checkpoint of step 1");
  refused("step", "1", "'step' is \"1\", expected a whole number");
  refused("samples", -1, "'samples' is -1");
  refused("position", 3, "'position' is not a JSON object");
  refused("position", {{"epoch", 0}}, "'position' has no 'step'");
  refused("position", {{"epoch", 0}, {"step", -1}}, "'position': 'step' is -1");
  refused("config", {{"model.layers", 2}}, "'config' is not an object of strings");
  refused("data", {1}, "'data' is not a list of strings");
  refused("answers", "yes", "'answers' is not a list of strings");
  refused("task", 7, "'task' is not a string");
  refused("save_seconds", "long", "'save_seconds' is not a number");
  refused("world_sizes", {2, 4}, "'world_sizes' is not a JSON object");
  refused("world_sizes", {{{"until_step", 1}, {"ranks", 0}}}, "'ranks' is 0");
  EXPECT_THAT(message("[1]"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(message(""), HasSubstr("is not JSON"));
  EXPECT_THAT(message(std::string(100'000, '[')), HasSubstr("levels deep"));
  EXPECT_EQ(message(sound.dump()), "");
}

TEST_F(CheckpointStore, KnowsTheOptionsOfEarlierVersions) {
  const auto read = [](const std::map<std::string, std::string>& config) {
    Checkpoint run = example(1);
    run.config = config;
    return parse_description(to_json(run).dump(), run.vocabulary, 1, "trainer.json").config;
  };
  using Config = std::map<std::string, std::string>;
  const Config retrieval =
      read({{"data.micro-batch", "16"}, {"retrieval.foreign-texts", "9"}, {"retrieval.hard-texts", "3"}});
  EXPECT_EQ(retrieval, (Config{{"data.group-shapes", "false"},
                               {"data.micro-batch", "16"},
                               {"image.size-multiple", "1"},
                               {"retrieval.hard-negatives", "3"},
                               {"retrieval.negatives", "9"}}));
  const Config pretrain = read({{"data.micro-batch", "16"}, {"data.mask-probability", "0.2"}});
  EXPECT_EQ(pretrain.at("train.mlm-epochs"), "0");
  EXPECT_EQ(pretrain.at("data.first-mask-probability"), "0.5");
  // What a checkpoint of this version says, holds.
  const Config now = {{"data.first-mask-probability", "0.4"}, {"data.group-shapes", "true"},
                      {"data.mask-probability", "0.15"},      {"data.micro-batch", "16"},
                      {"image.size-multiple", "64"},          {"train.mlm-epochs", "2"}};
  EXPECT_EQ(read(now), now);
  EXPECT_EQ(read({{"model.layers", "2"}}), (Config{{"model.layers", "2"}}));  // imported weights were not trained
}

TEST_F(CheckpointStore, PassesOverWeightsThatAreNotFinite) {
  save_step(1);
  Checkpoint broken = example(2);
  broken.model["itm.bias"] = at::full({1}, std::numeric_limits<double>::infinity());
  const fs::path step_folder = test::save(folder_, broken, 3);
  EXPECT_THAT([&] { load(step_folder); },
              ThrowsMessage<Error>(HasSubstr("model.safetensors: tensor 'itm.bias' holds")));
  EXPECT_THAT([&] { load_weights(step_folder); }, ThrowsMessage<Error>(HasSubstr("tensor 'itm.bias' holds")));
  EXPECT_THAT(verify(step_folder).problems, ElementsAre(HasSubstr("tensor 'itm.bias' holds")));
  testing::internal::CaptureStdout();  // spdlog's default, before log::start
  EXPECT_EQ(load(folder_).value().step, 1);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("tensor 'itm.bias' holds values that are not finite"));
  broken = example(3);
  broken.optimizer["itm.bias.exp_avg"] = at::full({1}, std::numeric_limits<double>::quiet_NaN());
  test::save(folder_, broken, 3);
  EXPECT_EQ(load_weights(run_).step, 3);
  EXPECT_EQ(load(folder_).value().step, 1);
}

// A folder that cannot be listed may hold the work of weeks.
TEST_F(CheckpointStore, IsNotTakenForEmptyWhereItCannotBeListed) {
  const auto refused = [&](const std::string& message) {
    const auto expected = ThrowsMessage<Error>(AllOf(HasSubstr(folder_.string()), HasSubstr(message)));
    EXPECT_THAT([&] { load(folder_); }, expected);
    EXPECT_THAT([&] { describe(folder_); }, expected);
    EXPECT_THAT([&] { load_weights(run_); }, expected);
    EXPECT_THAT([&] { verify(run_); }, expected);
  };
  fs::create_directories(run_);
  fs::create_symlink(temporary_.path() / "not-mounted", folder_);
  refused("is a link to " + (temporary_.path() / "not-mounted").string() + ", which is not there");
  fs::remove(folder_);
  fs::create_symlink("checkpoints", folder_);  // leads to itself
  refused("cannot list " + folder_.string() + ": Too many levels of symbolic links");
  fs::remove(folder_);
  write_file(folder_, "a file");
  refused("Not a directory");
}

TEST_F(CheckpointStore, IsNotTakenForEmptyBehindALinkThatLeadsNowhere) {
  fs::create_symlink(temporary_.path() / "not-mounted", run_);
  EXPECT_THAT([&] { load(folder_); }, ThrowsMessage<Error>(HasSubstr(run_.string() + " is a link to ")));
  EXPECT_THAT([&] { describe(folder_ / "deeper"); }, ThrowsMessage<Error>(HasSubstr(run_.string() + " is a link to ")));
}

TEST_F(CheckpointStore, IsNotTakenForEmptyWhereLatestIsLeft) {
  fs::remove_all(save_step(1));
  for (const bool all : {true, false}) {
    const auto read = [all](const fs::path& path) { return all ? load(path).has_value() : describe(path).has_value(); };
    EXPECT_THAT([&] { read(folder_); }, ThrowsMessage<Error>(HasSubstr("latest shows that checkpoints were saved")));
  }
}

TEST_F(CheckpointStore, SaysThatALinkLeadsNowhere) {
  fs::create_directories(folder_);
  fs::create_symlink("latest", folder_ / "latest");  // to itself
  EXPECT_THAT([&] { verify(folder_ / "latest"); }, ThrowsMessage<Error>(HasSubstr((folder_ / "latest").string())));
  EXPECT_THAT([&] { load_weights(folder_ / "latest"); }, ThrowsMessage<Error>(HasSubstr("Too many levels")));
}

// A run copied with its links followed, and one copied without the link.
TEST_F(CheckpointStore, GoesOnWhateverStandsInThePlaceOfLatest) {
  save_step(1);
  fs::remove(folder_ / "latest");
  fs::copy(folder_ / step_name(1), folder_ / "latest", fs::copy_options::recursive);
  EXPECT_TRUE(equal(load(folder_).value(), example(1)));
  testing::internal::CaptureStdout();  // spdlog's default, before log::start
  save_step(2, 1);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("latest was not a link and is now "));
  EXPECT_EQ(fs::read_symlink(folder_ / "latest"), step_name(2));
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000002", "latest", "latest.old"));
  EXPECT_TRUE(equal(load(folder_ / "latest.old").value(), example(1)));  // nothing is lost

  fs::remove(folder_ / "latest");
  write_file(folder_ / "latest", "notes");
  EXPECT_TRUE(equal(load_weights(run_).model, example(2).model));
  save_step(3, 1);
  EXPECT_EQ(fs::read_symlink(folder_ / "latest"), step_name(3));
  EXPECT_EQ(read_file(folder_ / "latest.old2"), "notes");

  fs::remove(folder_ / "latest");
  EXPECT_TRUE(equal(load(folder_).value(), example(3)));
  save_step(4, 1);
  EXPECT_EQ(fs::read_symlink(folder_ / "latest"), step_name(4));
}

TEST_F(CheckpointStore, ReadsAFolderLatestThatIsAlone) {
  fs::rename(save_step(7), temporary_.path() / "step");
  fs::remove(folder_ / "latest");
  fs::rename(temporary_.path() / "step", folder_ / "latest");
  EXPECT_EQ(load_weights(run_).step, 7);
  EXPECT_THAT([&] { load(folder_); }, ThrowsMessage<Error>(HasSubstr("may be renamed to step-")));
}

TEST_F(CheckpointStore, IsSavedAlsoWhereNoLinkCanBeMade) {
  // Like a file system without links: here a mounted folder is in the way.
  fs::create_directories(folder_ / ".latest");
  ASSERT_EQ(::mount("none", (folder_ / ".latest").c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno);
  testing::internal::CaptureStdout();  // spdlog's default, before log::start
  for (const std::int64_t step : {1, 2}) EXPECT_NO_THROW(save_step(step));
  const std::string said = testing::internal::GetCapturedStdout();
  const std::string warning = "training continues without the link";
  ASSERT_NE(said.find(warning), std::string::npos) << said;
  EXPECT_EQ(said.find(warning, said.find(warning) + 1), std::string::npos) << said;  // once
  EXPECT_TRUE(equal(load(folder_).value(), example(2)));
  ASSERT_EQ(::umount((folder_ / ".latest").c_str()), 0) << std::strerror(errno);
  save_step(3);
  EXPECT_EQ(fs::read_symlink(folder_ / "latest"), step_name(3));
}

// A training that keeps one checkpoint removes the one that is being read, again and again.
TEST_F(CheckpointStore, IsReadWhileATrainingRemovesWhatIsRead) {
  save_step(1, 1);
  testing::internal::CaptureStdout();  // spdlog's default, before log::start
  std::atomic<bool> done = false;
  std::jthread training([&] {
    for (std::int64_t step = 2; step <= 80; ++step) save_step(step, 1);
    done = true;
  });
  std::int64_t newest = 0;
  const auto check_step = [&newest](std::int64_t step) {
    EXPECT_GE(step, newest);
    newest = step;
  };
  while (!done) {
    check_step(load_weights(run_).step);
    check_step(load(folder_).value().step);
    check_step(describe(folder_).value().step);
    EXPECT_NO_THROW(load_weights(folder_ / "latest"));  // the link may lag behind for a moment
    EXPECT_TRUE(is_checkpoint(run_));
    for (const fs::path& path : {run_, folder_ / "latest"}) EXPECT_THAT(verify(path).problems, IsEmpty());
  }
  training.join();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

// A full disk, simulated by a limit on file size.
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
    EXPECT_TRUE(equal(load(folder_).value(), example(1)));
  }
  Checkpoint large = example(2);
  large.optimizer["itm.bias.exp_avg"] = at::ones({2000});
  {
    const FullDisk full(6000);  // the model's file still fits
    EXPECT_THAT([&] { test::save(folder_, large, 1); },
                ThrowsMessage<Error>(HasSubstr("optimizer.safetensors: File too large")));
  }
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000001", "latest"));
  test::save(folder_, large, 1);
  EXPECT_TRUE(equal(load(folder_).value(), large));
}

TEST_F(CheckpointStore, IsSavedAlsoWhereAnOldOneCannotBeRemoved) {
  // Like a folder on NFS with a file that is open elsewhere: here with a mounted one.
  const fs::path busy = save_step(1) / "busy";
  fs::create_directory(busy);
  ASSERT_EQ(::mount("none", busy.c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno) << ": run tests as root";
  for (const std::int64_t step : {2, 3}) {
    testing::internal::CaptureStdout();  // spdlog's default, before log::start
    EXPECT_NO_THROW(save_step(step, 1));
    EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("is left behind: "));
    EXPECT_TRUE(equal(load(folder_).value(), example(step)));
  }
  ASSERT_EQ(::umount((folder_ / ".removing-step-000000001" / "busy").c_str()), 0) << std::strerror(errno);
  save_step(4, 1);
  EXPECT_THAT(names_in(folder_), UnorderedElementsAre("step-000000004", "latest"));
}

TEST_F(CheckpointStore, IsDescribedWithoutItsTensors) {
  save_step(1);
  fs::resize_file(save_step(2) / kModelName, 10);
  const Description newest = describe(folder_).value();
  EXPECT_EQ(newest.step, 2);
  EXPECT_EQ(newest, static_cast<const Description&>(example(2)));
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
  EXPECT_EQ(load(folder_).value().step, 7);
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
    const Inspection report = verify(path);
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
