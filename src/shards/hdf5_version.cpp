#include "shards/hdf5_version.h"

#include "core/check.h"
#include "shards/hdf5_handles.h"

namespace pixelbert::shards {

std::string hdf5_version() {
  const Hdf5Lock lock;
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace pixelbert::shards
