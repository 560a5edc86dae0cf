#include "core/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

namespace pixelbert {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(MessageOf, LeavesOutTheBacktraceOfLibTorch) {
  const std::runtime_error error(
      "Storage size calculation overflowed with sizes=[4611686018427387904]\nException raised from "
      "computeStorageNbytes "
      "at EmptyTensor.cpp:65 (most recent call first):\nframe #0: c10::Error::Error(...) (0x99 in libc10.so)\n");
  EXPECT_EQ(message_of(error), "Storage size calculation overflowed with sizes=[4611686018427387904]");
}

TEST(MessageOf, SaysWhatToDoWhenMemoryHasRunOut) {
  const std::runtime_error error(
      "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
      "99 bytes. Error code 12 (Cannot allocate memory)\n\nframe #0: c10::ThrowEnforceNotMet(...)\n");
  EXPECT_THAT(message_of(error), HasSubstr("you tried to allocate 99 bytes"));
  EXPECT_THAT(message_of(error), HasSubstr("--data.micro-batch"));
  EXPECT_THAT(message_of(error), Not(HasSubstr("\n")));
  EXPECT_THAT(message_of(std::bad_alloc()), StartsWith("out of memory: "));
}

TEST(MessageOf, AsksForNoMemoryOfTheHostWhenThatOfTheGpuHasRunOut) {
  const std::runtime_error error("CUDA out of memory. Tried to allocate 20.00 MiB.\nException raised from malloc at x");
  EXPECT_THAT(message_of(error),
              StartsWith("CUDA out of memory. Tried to allocate 20.00 MiB.; out of memory on the GPU"));
  EXPECT_THAT(message_of(error), Not(HasSubstr("sbatch")));
}

TEST(MessageOf, LeavesOthersAsTheyAre) {
  EXPECT_EQ(message_of(std::runtime_error("one\ntwo")), "one\ntwo");
}

}  // namespace
}  // namespace pixelbert
