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

  void send(std::string_view line);      // without its line break; later calls send what the network does not take now
  std::optional<std::string> receive();  // the next complete line, if any

  bool closed() const { return closed_; }  // by the other side, or broken, or it sent a line of more than 16 MiB
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
