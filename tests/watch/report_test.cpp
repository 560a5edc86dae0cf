#include "watch/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"

namespace pixelbert::watch {
namespace {

using activity::Phase;
using activity::Wait;
using testing::ElementsAre;
using testing::HasSubstr;

RankStatus rank(int rank, std::int64_t step, Phase phase, const char* doing, Wait wait = Wait::None) {
  RankStatus status{.rank = rank, .host = rank < 2 ? "n0" : "n1", .pid = 100 + rank};
  status.main = {.thread = "main", .step = step, .phase = phase, .doing = doing, .wait = wait, .seconds = 30};
  status.seconds_since_progress = 30;
  return status;
}

Report stalled(std::vector<RankStatus> ranks) {
  return {.reason = Reason::Stalled, .unix_time = 1e9, .limit_seconds = 30, .reporter = 0, .ranks = std::move(ranks)};
}

TEST(Verdict, BlamesTheRankThatDoesNotWait) {
  const Verdict verdict = verdict_of(
      stalled({rank(0, 7, Phase::ReduceWait, "counts", Wait::Counts), rank(1, 7, Phase::Forward, "micro-batch 3"),
               rank(2, 7, Phase::ReduceWait, "counts", Wait::Counts)}));
  EXPECT_THAT(verdict.culprits, ElementsAre(1));
  EXPECT_THAT(verdict.summary,
              HasSubstr("rank 1 on host n0 (pid 101) has spent 30 s in forward of step 7, micro-batch 3"));
  EXPECT_THAT(verdict.waits, ElementsAre("ranks 0,2 wait for rank 1: reduce_wait of step 7, counts"));
}

TEST(Verdict, SaysWhatTheLoaderOfARankInDataDoes) {
  RankStatus slow = rank(1, 4, Phase::Data, "the loader's batches");
  slow.others.push_back({.thread = "loader 0", .phase = Phase::Data, .doing = "image 12 of shards", .seconds = 31});
  const Report report = stalled({rank(0, 4, Phase::ReduceWait, "counts", Wait::Counts), slow});
  EXPECT_THAT(verdict_of(report).culprits, ElementsAre(1));
  EXPECT_THAT(text_of(report), HasSubstr("(loader 0: image 12 of shards, for 31 s)"));
}

TEST(Verdict, SaysWhatTheSaverOfARankDoes) {
  RankStatus slow = rank(0, 4, Phase::Checkpoint, "the saver's reading");
  slow.others.push_back({.thread = "loader 0", .phase = Phase::Data, .doing = "waiting: the queue is full"});
  slow.others.push_back({.thread = "saver", .phase = Phase::Checkpoint, .doing = "writing x, byte 7", .seconds = 31});
  const Report report = stalled({slow, rank(1, 4, Phase::ReduceWait, "weights", Wait::Weights)});
  EXPECT_THAT(verdict_of(report).culprits, ElementsAre(0));
  EXPECT_THAT(text_of(report), HasSubstr("(saver: writing x, byte 7, for 31 s)"));
}

TEST(Verdict, BlamesTheRankThatLeftACollectiveOut) {
  const Verdict verdict = verdict_of(stalled({rank(0, 7, Phase::ReduceWait, "loss sums", Wait::Sums),
                                              rank(1, 8, Phase::ReduceWait, "counts", Wait::Counts),
                                              rank(2, 7, Phase::ReduceWait, "loss sums", Wait::Sums)}));
  EXPECT_THAT(verdict.culprits, ElementsAre(1));
  EXPECT_THAT(verdict.summary, HasSubstr("ranks 0,2 still waits in (reduce_wait of step 7, loss sums)"));

  const Verdict same_step = verdict_of(stalled({rank(0, 7, Phase::ReduceWait, "gradients", Wait::Gradients),
                                                rank(1, 7, Phase::ReduceWait, "loss sums", Wait::Sums)}));
  EXPECT_THAT(same_step.culprits, ElementsAre(1));
}

TEST(Verdict, BlamesTheNetworkWhenAllWaitAtTheSamePlace) {
  const Verdict verdict = verdict_of(stalled({rank(0, 7, Phase::ReduceWait, "loss sums", Wait::Sums),
                                              rank(1, 7, Phase::ReduceWait, "loss sums", Wait::Sums)}));
  EXPECT_THAT(verdict.culprits, ElementsAre(0, 1));
  EXPECT_THAT(verdict.summary, HasSubstr("the network between them"));
}

TEST(Verdict, BlamesASilentRankBeforeOneThatIsBusy) {
  RankStatus silent = rank(2, 7, Phase::Backward, "micro-batch 1");
  silent.silent_seconds = 29;
  const Report report =
      stalled({rank(0, 7, Phase::ReduceWait, "counts", Wait::Counts), rank(1, 7, Phase::Forward, "x"), silent});
  EXPECT_THAT(verdict_of(report).culprits, ElementsAre(2));
  EXPECT_THAT(text_of(report), HasSubstr("rank 2 on host n1 (pid 102) has sent nothing for 29 s, last in backward"));
}

TEST(Verdict, BlamesTheFirstOfFailedGoneAndStopped) {
  RankStatus stopped = rank(0, 7, Phase::Forward, "x"), gone = rank(1, 7, Phase::Forward, "x"),
             failed = rank(2, 7, Phase::Data, "y");
  stopped.state = State::Stopped;
  EXPECT_THAT(verdict_of(stalled({stopped, rank(1, 7, Phase::Data, "x")})).culprits, ElementsAre(0));
  gone.state = State::Gone;
  EXPECT_THAT(verdict_of(stalled({stopped, gone})).culprits, ElementsAre(1));
  failed.state = State::Failed;
  failed.error = "the disk is full";
  const Report report = stalled({stopped, gone, failed});
  EXPECT_THAT(verdict_of(report).culprits, ElementsAre(2));
  EXPECT_THAT(text_of(report), HasSubstr("the disk is full"));
}

TEST(Verdict, SaysThatARankDiedWhileStarting) {
  RankStatus said = rank(0, 0, Phase::Start, "reading config.ini"), joined = rank(1, 0, Phase::Start, "");
  said.state = joined.state = State::Gone;
  RankStatus never{.rank = 2, .state = State::Gone};
  const std::string text = text_of(stalled({said, joined, never}));
  EXPECT_THAT(text, HasSubstr("rank 0 on host n0 (pid 100) died while starting, reading config.ini: its connection"));
  EXPECT_THAT(text, HasSubstr("rank 1 on host n0 (pid 101) died while starting: its connection"));
  EXPECT_THAT(text, HasSubstr("rank 2, which has not reached rank 0, died while starting"));
}

TEST(Verdict, NamesAtMostEightOfManyCulprits) {
  std::vector<RankStatus> ranks;
  for (int i = 0; i < 1000; ++i) ranks.push_back(rank(i, 7, Phase::Forward, "x"));
  const Verdict verdict = verdict_of(stalled(ranks));
  EXPECT_EQ(verdict.culprits.size(), 1000u);
  EXPECT_THAT(verdict.summary, HasSubstr("and 992 more"));
}

TEST(Report, SurvivesTheWayThroughJson) {
  RankStatus status = rank(1, 7, Phase::Data, "z", Wait::Sums);
  status.others.push_back({.thread = "loader 0", .phase = Phase::Data, .doing = "image 12"});
  status.stacks.push_back({.thread_id = 5, .name = "main", .frames = {"f", "g"}});
  status.state = State::Stopped;
  const Report report = stalled({rank(0, 1, Phase::Forward, "x"), status});
  const nlohmann::json json = nlohmann::json::parse(to_json(report).dump());
  EXPECT_EQ(to_json(report_from(json)).dump(), to_json(report).dump());
  EXPECT_EQ(json["culprits"], (std::vector<int>{1}));
}

TEST(Report, RefusesNumbersThatAreNone) {
  const nlohmann::json sound = nlohmann::json::parse(to_json(stalled({rank(0, 1, Phase::Forward, "x")})).dump());
  for (const char* place : {"/ranks/0/pid", "/ranks/0/main/step", "/ranks/0/main/wait", "/reporter"}) {
    for (const nlohmann::json& wrong : {nlohmann::json(6e28), nlohmann::json(-1), nlohmann::json("1")}) {
      nlohmann::json json = sound;
      json[nlohmann::json::json_pointer(place)] = wrong;
      EXPECT_THROW(report_from(json), Error) << place << " " << wrong;
    }
  }
}

TEST(SecondsSinceProgress, TheLoaderCountsOnlyWhileTheMainThreadWaitsForIt) {
  activity::Activity main{.thread = "main", .phase = Phase::Data, .doing = "", .seconds = 20};
  const activity::Activity loader{.thread = "loader 0", .phase = Phase::Data, .doing = "", .seconds = 3};
  EXPECT_EQ(seconds_since_progress({main, loader}), 3);
  main.phase = Phase::ReduceWait;
  EXPECT_EQ(seconds_since_progress({main, loader}), 20);
}

}  // namespace
}  // namespace pixelbert::watch
