// JSON messages between rank 0 and every other rank, over separate TCP connections.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/running_clock.h"
#include "watch/line_socket.h"

namespace pixelbert::watch {

class SideChannel {
 public:
  // Collective. `share` gives rank 0's text to all ranks. `first` is this rank's first message; it is sent on joining,
  // so that a rank that has joined is known, even if it ends at once. Throws Error on a rank that cannot reach rank 0.
  SideChannel(int rank, int world_size, const nlohmann::json& first,
              const std::function<std::string(const std::string&)>& share);

  // On rank 0, sends to ranks that have joined; on other ranks, to rank 0 only.
  void send(int rank, const nlohmann::json& message);
  void send_all(const nlohmann::json& message);

  struct Received {
    int rank;
    nlohmann::json message;  // null: the connection has ended
  };
  // Waits until a message arrives, `wake` can be read, or `seconds` have passed.
  std::vector<Received> receive(int wake, double seconds);

 private:
  void join(int rank, const nlohmann::json& contact, const nlohmann::json& first);
  void wait_for_others(int world_size);
  void accept_all();

  struct Stranger {  // a connection whose rank is not known yet
    LineSocket socket;
    RunningClock::time_point since;
  };

  bool accepts() const { return listening_.get() >= 0 && !full_; }

  FileDescriptor listening_;  // rank 0's
  bool full_ = false;         // no descriptors are left
  std::uint64_t token_ = 0;   // known to the ranks of this job only
  std::vector<Stranger> strangers_;
  std::map<int, LineSocket> peers_;
  std::vector<Received> joined_;  // first messages that receive() has not returned yet
};

}  // namespace pixelbert::watch
