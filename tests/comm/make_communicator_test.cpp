#include "comm/make_communicator.h"

#include <gmock/gmock.h>

namespace pixelbert::comm {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Versions, NameTheMpiLibrary) {
  EXPECT_THAT(mpi_version(), StartsWith("Open MPI v"));
}

TEST(Versions, SayWhichCudaOrWhyThereIsNone) {
  EXPECT_THAT(cuda_version(), AnyOf(HasSubstr("NCCL"), StartsWith("none: no NVIDIA driver on this machine"),
                                    StartsWith("none: the NVIDIA driver shows no GPU"),
                                    StartsWith("none: no CUDA plug-in: build with PIXELBERT_CUDA=ON")));
}

}  // namespace
}  // namespace pixelbert::comm
