#include "watch/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/activity.h"
#include "core/running_clock.h"
#include "tests/support/child_process.h"

namespace pixelbert::watch {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Ranks of one host, as processes. Each joins, prints "ready" and does `work`; a pipe carries what rank 0 shares.
class Job {
 public:
  Job(int ranks, double limit, const std::function<void(int rank)>& work) {
    for (int rank = 0; rank < ranks; ++rank) {
      ranks_.push_back(std::make_unique<ChildProcess>([=, this] {
        const RunningClock::Ticker ticker;
        activity::doing(activity::Phase::Forward, "micro-batch 0");
        Watchdog watchdog({limit}, {rank, ranks, "here"}, [&](const std::string& text) {
          if (rank > 0) return contact_.get();
          for (int other = 1; other < ranks; ++other) contact_.put(text);
          return text;
        });
        ready_.put("ready");
        work(rank);
        return 0;
      }));
    }
    for (int rank = 0; rank < ranks; ++rank) ready_.get();
  }

  ChildProcess& operator[](std::size_t rank) { return *ranks_[rank]; }

 private:
  const Pipe contact_, ready_;
  std::vector<std::unique_ptr<ChildProcess>> ranks_;
};

TEST(Watchdog, AJobThatWasSuspendedAsAWholeGoesOn) {
  constexpr double kLimit = 5;
  for (const int ranks : {1, 2}) {
    const Pipe go_on;
    Job job(ranks, kLimit, [&](int) { go_on.get(); });  // moves only after it has been continued for a while
    for (int rank = 0; rank < ranks; ++rank) job[rank].stop();
    std::this_thread::sleep_for(7s);
    for (int rank = ranks - 1; rank >= 0; --rank) {
      job[rank].signal(SIGCONT);
      std::this_thread::sleep_for(500ms);
    }
    std::this_thread::sleep_for(1s);
    for (int rank = 0; rank < ranks; ++rank) EXPECT_TRUE(job[rank].runs()) << job[rank].output();
    for (int rank = 0; rank < ranks; ++rank) go_on.put("");
    for (int rank = 0; rank < ranks; ++rank) EXPECT_EQ(job[rank].wait(), 0) << job[rank].output();
  }
}

TEST(Watchdog, ARankThatIsStoppedAloneIsNamed) {
  const Pipe never;
  Job job(2, 2, [&](int) { never.get(); });
  job[1].stop();
  EXPECT_EQ(job[0].wait(), 1);
  EXPECT_THAT(job[0].output(), HasSubstr(fmt::format("rank 1 on host here (pid {}) has been stopped", job[1].pid())));
  job[1].signal(SIGCONT);
  EXPECT_EQ(job[1].wait(), 1) << job[1].output();
}

TEST(Watchdog, ARankThatDiesAtOnceIsNamed) {
  const Pipe never;
  Job job(2, 60, [&](int rank) {
    if (rank == 1) raise(SIGKILL);
    never.get();
  });
  EXPECT_EQ(job[0].wait(), 1);
  EXPECT_THAT(job[0].output(), HasSubstr(fmt::format("rank 1 on host here (pid {}) died in forward", job[1].pid())));
}

}  // namespace
}  // namespace pixelbert::watch
