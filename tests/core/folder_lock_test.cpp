#include "core/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <thread>

#include "core/check.h"
#include "core/log.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr milliseconds kShort{50}, kLong{5000};

// The file's content with one line replaced.
std::string with(std::string text, const std::string& key, const std::string& value) {
  const std::size_t at = text.find("\n" + key + " ") + 1;
  return text.replace(at, text.find('\n', at) - at, key + " " + value);
}

class FolderLockTest : public testing::Test {
 protected:
  std::string content() const { return read_file(path_); }

  // The content that this process writes as a holder.
  std::string of_this_process() const {
    const FolderLock lock(path_);
    return content();
  }

  void leave(const std::string& text) const { std::ofstream(path_) << text; }

  const test::TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "lock";
};

TEST_F(FolderLockTest, RefusesASecondJobAtOnceAndNamesTheFirst) {
  const FolderLock first(path_);
  std::string host(256, '\0');
  ::gethostname(host.data(), host.size());
  const std::string before = content();
  EXPECT_THAT([&] { FolderLock(path_, kLong); },
              ThrowsMessage<Error>(AllOf(HasSubstr(folder_.path().string() + " is in use by the job with pid " +
                                                   std::to_string(::getpid()) + " on host " + host.c_str()),
                                         HasSubstr(", running since 20"))));
  EXPECT_EQ(content(), before);
}

TEST_F(FolderLockTest, IsGoneAtTheEnd) {
  {
    const FolderLock lock(path_);
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  const FolderLock again(path_);
}

// A crash ends the kernel lock but leaves the file.
TEST_F(FolderLockTest, TakesOverAtOnceFromAProcessOfThisHostThatIsGone) {
  const pid_t child = ::fork();
  if (child == 0) {
    new FolderLock(path_, kLong);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_THAT(content(), HasSubstr("pid " + std::to_string(child)));
  const auto start = std::chrono::steady_clock::now();
  const FolderLock lock(path_, kLong);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3 * kLong);  // as if the holder was on another host
  EXPECT_THAT(content(), HasSubstr("pid " + std::to_string(::getpid())));
}

TEST_F(FolderLockTest, TellsAPidThatIsUsedAgainByItsStart) {
  leave(with(of_this_process(), "start", "1"));
  const FolderLock lock(path_, kLong);
}

TEST_F(FolderLockTest, SeesALivingHolderWhereTheFileSystemHasNoLocks) {
  leave(with(of_this_process(), "since", "2026-01-02 03:04:05 UTC"));  // of this process, but nothing is locked
  EXPECT_THAT([&] { FolderLock(path_, kLong); }, ThrowsMessage<Error>(HasSubstr("since 2026-01-02 03:04:05 UTC")));
}

TEST_F(FolderLockTest, RefusesWhileAHolderOnAnotherHostRenews) {
  leave(with(of_this_process(), "boot", "another"));
  const std::jthread holder([this](const std::stop_token& stop) {
    for (std::time_t time = 1; !stop.stop_requested(); ++time) {
      std::filesystem::last_write_time(path_, std::filesystem::file_time_type(std::chrono::seconds(time)));
      std::this_thread::sleep_for(milliseconds(5));
    }
  });
  EXPECT_THAT([&] { FolderLock(path_, kLong); }, ThrowsMessage<Error>(HasSubstr("is in use by the job with pid")));
}

TEST_F(FolderLockTest, TakesOverFromAnotherHostThatNoLongerRenews) {
  leave(with(of_this_process(), "boot", "another"));
  const auto start = std::chrono::steady_clock::now();
  const FolderLock lock(path_, kShort);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 3 * kShort);
  EXPECT_EQ(content().find("boot another"), std::string::npos);
}

// A file server keeps the locks of a lost host for a while.
TEST_F(FolderLockTest, WaitsForAServerToGiveUpALostHost) {
  std::optional<FolderLock> lost(std::in_place, path_, kLong);
  const std::string own = content();
  leave(with(own, "boot", "another"));
  std::jthread server([&] {
    std::this_thread::sleep_for(milliseconds(300));
    lost.reset();
  });
  const FolderLock lock(path_, kShort);
  EXPECT_EQ(content(), own);
}

TEST_F(FolderLockTest, SaysWhenALockStaysThoughNobodyRenewsIt) {
  const FolderLock suspended(path_, kLong);
  leave(with(content(), "boot", "another"));
  EXPECT_THAT([&] { FolderLock(path_, kShort, kShort); }, ThrowsMessage<Error>(HasSubstr("has not renewed it for")));
}

TEST_F(FolderLockTest, RenewsTheFilesTime) {
  const FolderLock lock(path_, kShort);
  std::filesystem::last_write_time(path_, {});
  while (std::filesystem::last_write_time(path_) == std::filesystem::file_time_type{}) {
    std::this_thread::sleep_for(milliseconds(5));
  }
}

TEST_F(FolderLockTest, EndsAHolderWhoseLockWasTakenOver) {
  const auto lose = [this] {
    log::start(0, 1);
    const FolderLock lock(path_, kShort);
    leave(with(content(), "host", "elsewhere"));
    std::this_thread::sleep_for(std::chrono::minutes(1));
  };
  EXPECT_EXIT(lose(), testing::ExitedWithCode(1),
              "now belongs to another job, the job with pid [0-9]+ on host elsewhere");
}

TEST_F(FolderLockTest, NamesAFolderItCannotWriteTo) {
  EXPECT_THAT([] { FolderLock("/no/such/folder/lock"); },
              ThrowsMessage<Error>(HasSubstr("/no/such/folder/lock: No such file or directory")));
}

}  // namespace
}  // namespace pixelbert
