#include "watch/side_channel.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/json_text.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/running_clock.h"

namespace pixelbert::watch {
namespace {

using nlohmann::json;
using Steady = std::chrono::steady_clock;

constexpr double kConnectSeconds = 5;              // per address
constexpr double kComeSeconds = 10;                // for all ranks to join; later ones are accepted later
constexpr std::chrono::seconds kHelloSeconds{60};  // for one that has connected to say who it is,
constexpr std::size_t kHelloBytes = 1 << 20;       // in a line of at most so many bytes

// The usual limit of open files is 1024. Rank 0 needs one more for each of the other ranks.
void allow_more_files(int more) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur += std::min(static_cast<rlim_t>(more), files.rlim_max - files.rlim_cur);  // either may be infinite
  setrlimit(RLIMIT_NOFILE, &files);
}

// Not a secret: it distinguishes the jobs of one host, whose ports are used again.
std::uint64_t token_of_this_job() {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return key(getpid(), now);
}

}  // namespace

SideChannel::SideChannel(int rank, int world_size, const json& first,
                         const std::function<std::string(const std::string&)>& share) {
  if (world_size == 1) return;
  json contact;
  if (rank == 0) {
    allow_more_files(world_size);
    listening_ = listen_on_any_port();
    token_ = token_of_this_job();
    contact = {
        {"addresses", addresses_of_this_host()}, {"port", port_of(listening_)}, {"token", token_}, {"first", first}};
  }
  contact = json::parse(share(json_text(contact)));
  if (rank == 0) {
    wait_for_others(world_size);
  } else {
    joined_.push_back({0, contact.at("first")});
    join(rank, contact, first);
  }
}

// Without this, a rank 0 that fails immediately would exit before the others have connected.
void SideChannel::wait_for_others(int world_size) {
  const auto end = Steady::now() + std::chrono::duration<double>(kComeSeconds);
  while (std::ssize(peers_) < world_size - 1 && Steady::now() < end) {
    std::vector<int> descriptors;
    if (accepts()) descriptors.push_back(listening_.get());
    for (const Stranger& stranger : strangers_) descriptors.push_back(stranger.socket.fd());
    wait_readable(descriptors, 1);
    accept_all();
  }
}

void SideChannel::join(int rank, const json& contact, const json& first) {
  FileDescriptor socket = connect_to(contact.at("addresses"), contact.at("port"), kConnectSeconds);
  PB_CHECK(socket.get() >= 0,
           "watchdog: expected to reach rank 0 by TCP at one of {}, port {}, found none that answers: allow TCP "
           "between the hosts of a job, or turn the watchdog off (--watchdog.seconds 0)",
           contact["addresses"].dump(), contact["port"].dump());
  const json hello = {{"rank", rank}, {"token", contact["token"]}, {"first", first}};
  peers_.emplace(0, std::move(socket)).first->second.send(json_text(hello));
}

void SideChannel::send(int rank, const json& message) {
  if (const auto peer = peers_.find(rank); peer != peers_.end()) peer->second.send(json_text(message));
}

void SideChannel::send_all(const json& message) {
  const std::string line = json_text(message);
  for (auto& [rank, peer] : peers_) peer.send(line);
}

void SideChannel::accept_all() {
  while (accepts()) {
    FileDescriptor socket(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.get() < 0 && (errno == EMFILE || errno == ENFILE)) {
      log::warn("watchdog: rank 0 has no more file descriptors (ulimit -n), so it does not watch all ranks");
      full_ = true;  // poll() would never wait again. Closing the socket would seem to the others to be rank 0's end
      break;
    }
    if (socket.get() < 0) break;
    strangers_.push_back({LineSocket(std::move(socket)), RunningClock::now()});
  }
  for (auto stranger = strangers_.begin(); stranger != strangers_.end();) {
    const std::optional<std::string> line = stranger->socket.receive(kHelloBytes);
    if (line) {
      const json hello = json::parse(*line, nullptr, false);
      // Any host on the network may have sent it.
      const bool ours = hello.is_object() && hello.value("token", json()) == token_;
      if (ours) {
        peers_.insert_or_assign(hello.at("rank"), std::move(stranger->socket));
        joined_.push_back({hello.at("rank"), hello.at("first")});
      }
    }
    const bool drop = line || stranger->socket.closed() || RunningClock::now() - stranger->since > kHelloSeconds;
    stranger = drop ? strangers_.erase(stranger) : stranger + 1;
  }
}

std::vector<SideChannel::Received> SideChannel::receive(int wake, double seconds) {
  std::vector<int> descriptors = {wake};
  if (accepts()) descriptors.push_back(listening_.get());
  for (const Stranger& stranger : strangers_) descriptors.push_back(stranger.socket.fd());
  for (const auto& [rank, peer] : peers_) descriptors.push_back(peer.fd());
  if (joined_.empty()) wait_readable(descriptors, seconds);

  accept_all();
  std::vector<Received> received = std::exchange(joined_, {});
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    auto& [rank, socket] = *peer;
    while (const std::optional<std::string> line = socket.receive()) {
      if (json message = json::parse(*line, nullptr, false); message.is_object()) {
        received.push_back({rank, std::move(message)});
      }
    }
    if (socket.closed()) received.push_back({rank, nullptr});
    peer = socket.closed() ? peers_.erase(peer) : std::next(peer);
  }
  return received;
}

}  // namespace pixelbert::watch
