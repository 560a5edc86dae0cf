#include "comm/shared_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <climits>
#include <fstream>

#include "tests/support/temporary_folder.h"

namespace pixelbert::comm {
namespace {

using std::chrono::seconds;

class SegmentsTest : public testing::Test {
 protected:
  // As Open MPI 4.1 names them.
  std::filesystem::path make(const std::string& name) const {
    const std::filesystem::path path = folder_.path() / name;
    std::ofstream(path) << std::string(8192, 'x');
    return path;
  }
  std::string vader(int rank) const {
    char host[HOST_NAME_MAX + 1] = {};
    ::gethostname(host, sizeof host - 1);
    return "vader_segment." + std::string(host) + "." + std::to_string(::getuid()) + ".5e390001." +
           std::to_string(rank);
  }

  const test::TemporaryFolder folder_{"/dev/shm"};  // on other file systems maps may name another device
};

TEST_F(SegmentsTest, RemovesWhatNoProcessHasMapped) {
  const auto stale = make(vader(0)), living = make(vader(1));
  const int fd = ::open(living.c_str(), O_RDWR);
  void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::close(fd);
  remove_stale_segments(folder_.path(), seconds(0));
  EXPECT_FALSE(std::filesystem::exists(stale));
  EXPECT_TRUE(std::filesystem::exists(living));
  ::munmap(memory, 4096);
}

TEST_F(SegmentsTest, LeavesWhatIsYoungOrOfOthers) {
  const auto young = make(vader(0)), other_host = make("vader_segment.elsewhere.0.5e390001.0"),
             other = make("sem.mine");
  remove_stale_segments(folder_.path());
  EXPECT_TRUE(std::filesystem::exists(young));
  remove_stale_segments(folder_.path(), seconds(0));
  EXPECT_TRUE(std::filesystem::exists(other_host));
  EXPECT_TRUE(std::filesystem::exists(other));
  EXPECT_FALSE(std::filesystem::exists(young));
}

TEST_F(SegmentsTest, LeavesThoseOfAnotherUser) {
  const auto other_user = make(vader(0));
  if (::chown(other_user.c_str(), 65534, 65534) != 0) return;  // only root can test this
  remove_stale_segments(folder_.path(), seconds(0));
  EXPECT_TRUE(std::filesystem::exists(other_user));
}

TEST(LackOfSharedMemory, SaysWhatIsNeededAndWhatThereIs) {
  EXPECT_EQ(lack_of_shared_memory(2, 1), "");
  const std::string lack = lack_of_shared_memory(2, std::int64_t{1} << 50);
  for (const char* words : {"/dev/shm on host ", "expected 2147483648.0 MiB free for what 2 ranks share, found ",
                            "--shm-size", "OMPI_MCA_osc_sm_backing_directory"}) {
    EXPECT_NE(lack.find(words), std::string::npos) << lack;
  }
}

}  // namespace
}  // namespace pixelbert::comm
