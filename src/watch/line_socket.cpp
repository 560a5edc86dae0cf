#include "watch/line_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace pixelbert::watch {
namespace {

FileDescriptor tcp_socket() {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  PB_CHECK(socket.get() >= 0, "watchdog: cannot make a socket: {}", std::strerror(errno));
  return socket;
}

int milliseconds(double seconds) {
  return std::max(1, static_cast<int>(seconds * 1000));
}

}  // namespace

LineSocket::LineSocket(FileDescriptor socket) : socket_(std::move(socket)) {
  fcntl(fd(), F_SETFL, fcntl(fd(), F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void LineSocket::send(std::string_view line) {
  outgoing_.append(line).push_back('\n');
  flush();
}

void LineSocket::flush() {
  while (!outgoing_.empty() && !closed_) {
    const ssize_t sent = ::send(fd(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      closed_ = errno != EAGAIN && errno != EWOULDBLOCK;
      return;
    }
    outgoing_.erase(0, static_cast<std::size_t>(sent));
  }
}

std::optional<std::string> LineSocket::receive(std::size_t most) {
  flush();
  std::array<char, 4096> buffer{};
  while (!closed_ && incoming_.size() < most) {
    const ssize_t received = recv(fd(), buffer.data(), buffer.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    closed_ = received <= 0;
    if (received > 0) incoming_.append(buffer.data(), static_cast<std::size_t>(received));
  }
  const std::size_t end = incoming_.find('\n');
  if (end == std::string::npos) {
    closed_ = closed_ || incoming_.size() >= most;
    return std::nullopt;
  }
  std::string line = incoming_.substr(0, end);
  incoming_.erase(0, end + 1);
  return line;
}

FileDescriptor listen_on_any_port() {
  FileDescriptor socket = tcp_socket();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  const bool listens = bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                       listen(socket.get(), SOMAXCONN) == 0;
  PB_CHECK(listens, "watchdog: cannot listen on a TCP port: {}", std::strerror(errno));
  return socket;
}

int port_of(const FileDescriptor& socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  PB_CHECK(getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0, "watchdog: no port: {}",
           std::strerror(errno));
  return ntohs(address.sin_port);
}

std::vector<std::string> addresses_of_this_host() {
  ifaddrs* interfaces = nullptr;
  PB_CHECK(getifaddrs(&interfaces) == 0, "watchdog: cannot list network interfaces: {}", std::strerror(errno));
  std::vector<std::string> addresses, loopback;
  for (const ifaddrs* at = interfaces; at; at = at->ifa_next) {
    if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || !(at->ifa_flags & IFF_UP)) continue;
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text.data(), text.size());
    (at->ifa_flags & IFF_LOOPBACK ? loopback : addresses).emplace_back(text.data());
  }
  freeifaddrs(interfaces);
  addresses.insert(addresses.end(), loopback.begin(), loopback.end());
  return addresses;
}

FileDescriptor connect_to(const std::vector<std::string>& addresses, int port, double seconds) {
  for (const std::string& text : addresses) {
    FileDescriptor socket = tcp_socket();
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) continue;
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      if (errno != EINPROGRESS) continue;
      pollfd writable{socket.get(), POLLOUT, 0};
      if (poll(&writable, 1, milliseconds(seconds)) != 1) continue;
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) continue;
    }
    return socket;
  }
  return {};
}

void wait_readable(const std::vector<int>& descriptors, double seconds) {
  std::vector<pollfd> polled;
  for (const int fd : descriptors) polled.push_back({fd, POLLIN, 0});
  poll(polled.data(), polled.size(), milliseconds(seconds));
}

}  // namespace pixelbert::watch
