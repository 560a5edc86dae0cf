// JSON messages between rank 0 and every other rank, over TCP connections of their own.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "watch/line_socket.h"

namespace pixelbert::watch {

class SideChannel {
 public:
  // Collective. `share` gives rank 0's text to all ranks. `first` is the first message of this rank, and comes with it:
  // whoever has joined is known, however soon it ends. Error on a rank that cannot reach rank 0.
  SideChannel(int rank, int world_size, const nlohmann::json& first,
              const std::function<std::string(const std::string&)>& share);

  // Rank 0 reaches all ranks that have come so far; the others reach rank 0 only.
  void send(int rank, const nlohmann::json& message);
  void send_all(const nlohmann::json& message);

  struct Received {
    int rank;
    nlohmann::json message;  // null: the connection has ended
  };
  // Waits until something comes, `wake` can be read, or `seconds` have passed.
  std::vector<Received> receive(int wake, double seconds);

 private:
  void join(int rank, const nlohmann::json& contact, const nlohmann::json& first);
  void wait_for_others(int world_size);
  void accept_all();

  FileDescriptor listening_;           // rank 0's
  std::uint64_t token_ = 0;            // what a rank of this job knows
  std::vector<LineSocket> strangers_;  // who have not yet said which rank they are
  std::map<int, LineSocket> peers_;
  std::vector<Received> joined_;  // the first messages that nobody has received yet
};

}  // namespace pixelbert::watch
