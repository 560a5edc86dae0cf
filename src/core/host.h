// The host's name and time.
#pragma once

#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <string>

namespace pixelbert {

inline std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

// Returns the seconds since 1970, for files that other hosts and programs read.
inline double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace pixelbert
