// One TCP connection that carries lines of text both ways and never blocks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"

namespace pixelbert::watch {

class LineSocket {
 public:
  explicit LineSocket(FileDescriptor socket);  // connected

  void send(std::string_view line);      // without its end; what the network does not take now leaves with later calls
  std::optional<std::string> receive();  // the next line that is whole by now

  bool closed() const { return closed_; }  // by the other side, or broken
  int fd() const { return socket_.get(); }

 private:
  void flush();

  FileDescriptor socket_;
  std::string incoming_, outgoing_;
  bool closed_ = false;
};

// Listens on all addresses of this host, on a port the system chooses.
FileDescriptor listen_on_any_port();
int port_of(const FileDescriptor& socket);

// The IPv4 addresses of this host that others may reach, one per interface that is up; loopback last.
std::vector<std::string> addresses_of_this_host();

// Connects to the first of `addresses` that answers within `seconds` each; nothing (get() is -1) when none does.
FileDescriptor connect_to(const std::vector<std::string>& addresses, int port, double seconds);

// Waits until one of the descriptors can be read or `seconds` have passed.
void wait_readable(const std::vector<int>& descriptors, double seconds);

}  // namespace pixelbert::watch
