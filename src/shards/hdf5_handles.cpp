#include "shards/hdf5_handles.h"

#include <string_view>

namespace pixelbert::shards {
namespace {

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

}  // namespace

Hdf5Lock::Hdf5Lock() : guard_(library_mutex()) {
  // A file that could not be flushed (disk full) stays half open in the library, whose clean-up at exit then crashes.
  // Every handle here closes itself, so there is nothing to clean up.
  [[maybe_unused]] static const herr_t no_cleanup = H5dont_atexit();
  // Nor may a file decide which code is loaded: only the library's own filters.
  [[maybe_unused]] static const herr_t no_plugins = H5PLset_loading_state(0);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // per thread in thread-safe builds, hence each time
}

std::string hdf5_reason() {
  std::string reason = "HDF5 gives no reason";
  const H5E_walk2_t take_innermost = [](unsigned depth, const H5E_error2_t* entry, void* into) -> herr_t {
    if (depth == 0) *static_cast<std::string*>(into) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, &reason);
  const bool by_lock = reason.find("lock file") != std::string::npos;

  // The reason of a failed system call includes a time, a pointer and more: keep only its message.
  constexpr std::string_view kSystem = "error message = '";
  if (const std::size_t begin = reason.find(kSystem); begin != std::string::npos) {
    reason = reason.substr(begin + kSystem.size());
    reason = reason.substr(0, reason.find('\''));
  }
  if (by_lock) {
    reason +=
        " (HDF5 cannot lock the file: another program is writing it, or the file system has no locks; for the latter "
        "set HDF5_USE_FILE_LOCKING=FALSE)";
  }
  return reason;
}

}  // namespace pixelbert::shards
