// One TCP connection that carries lines of text both ways and never blocks.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"

namespace pixelbert::watch {

class LineSocket {
 public:
  explicit LineSocket(FileDescriptor socket);  // connected

  void send(std::string_view line);  // without its line break; later calls send what the network does not take now

  // Returns the next complete line, if any. Without one in the first `most` bytes, closes the connection.
  std::optional<std::string> receive(std::size_t most = std::numeric_limits<std::size_t>::max());

  bool closed() const { return closed_; }  // by the other side, by receive(), or broken
  int fd() const { return socket_.get(); }

 private:
  void flush();

  FileDescriptor socket_;
  std::string incoming_, outgoing_;
  bool closed_ = false;
};

// Listens on all addresses of this host, on a port that the system chooses.
FileDescriptor listen_on_any_port();
int port_of(const FileDescriptor& socket);

// Returns the IPv4 addresses at which others may reach this host, one per interface that is up; loopback last.
std::vector<std::string> addresses_of_this_host();

// Connects to the first of `addresses` that answers within `seconds`. Returns nothing (get() is -1) if none does.
FileDescriptor connect_to(const std::vector<std::string>& addresses, int port, double seconds);

// Waits until one of the descriptors can be read or `seconds` have passed.
void wait_readable(const std::vector<int>& descriptors, double seconds);

}  // namespace pixelbert::watch
