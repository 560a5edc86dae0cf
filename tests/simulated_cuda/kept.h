// What the copies of lines.py ask of each line that can be left out.
#pragma once

#include <cstdlib>
#include <mutex>

inline bool kept(int line) {
  static const char* const removed = std::getenv("PIXELBERT_REMOVED_LINE");
  return !removed || std::atoi(removed) != line;
}

inline std::unique_lock<std::mutex> lock_if(bool wanted, std::mutex& mutex) {
  return wanted ? std::unique_lock(mutex) : std::unique_lock<std::mutex>();
}
