// <run>/watchdog/: written by a thread of its own, because a file system that does not answer is one of the things that
// a watchdog watches.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace pixelbert::watch {

class ReportFiles {
 public:
  ReportFiles();
  ~ReportFiles();  // writes what is left

  // From now on. The folder is made with the first file, when the one above is there. Without one nothing is written.
  void write_to(std::filesystem::path folder);

  // Replaces the file in one piece, some time. The newest content of a name wins.
  void write(const std::string& name, std::string content);

  // Whether everything is written within `seconds`.
  bool wait(double seconds);

 private:
  void run(const std::stop_token& stop);

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, std::string> waiting_;  // by name
  bool writing_ = false;
  bool complained_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace pixelbert::watch
