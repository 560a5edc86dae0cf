#include "watch/side_channel.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <future>
#include <stop_token>
#include <thread>

#include "core/check.h"

namespace pixelbert::watch {
namespace {

using nlohmann::json;
constexpr int kNoWake = -1;  // poll() ignores it

// The next message, within seconds.
SideChannel::Received next(SideChannel& channel) {
  for (int i = 0; i < 200; ++i) {
    const auto received = channel.receive(kNoWake, 0.05);
    if (!received.empty()) return received[0];
  }
  fail("no message came");
}

// Ranks 0 and 1 of a job, joined as ranks do: rank 0's contact reaches rank 1.
struct Job {
  explicit Job(bool introduce = true) {
    std::promise<std::string> contact;
    auto joining = std::async(std::launch::async, [&] {
      return SideChannel(1, 2, {{"pid", 11}}, [&](const std::string&) { return contact.get_future().get(); });
    });
    rank0.emplace(0, 2, json{{"pid", 10}}, [&](const std::string& text) {
      shared = text;
      contact.set_value(text);
      return text;
    });
    rank1.emplace(joining.get());
    if (!introduce) return;
    first_of_1 = next(*rank0).message;
    first_of_0 = next(*rank1).message;
  }

  std::string shared;
  std::optional<SideChannel> rank0, rank1;
  json first_of_0, first_of_1;
};

TEST(SideChannel, ARankIsKnownFromTheMomentItHasJoined) {
  const Job job;
  EXPECT_EQ(job.first_of_0, (json{{"pid", 10}}));
  EXPECT_EQ(job.first_of_1, (json{{"pid", 11}}));

  Job short_lived(/*introduce=*/false);
  short_lived.rank1.reset();
  std::vector<json> received;
  for (int i = 0; i < 200 && received.size() < 2; ++i) {
    for (const auto& [rank, message] : short_lived.rank0->receive(kNoWake, 0.05)) received.push_back(message);
  }
  EXPECT_EQ(received, (std::vector<json>{{{"pid", 11}}, nullptr}));
}

TEST(SideChannel, CarriesMessagesBothWays) {
  Job job;
  job.rank1->send(0, {{"step", 3}});
  const auto told = next(*job.rank0);
  EXPECT_EQ(told.rank, 1);
  EXPECT_EQ(told.message, (json{{"step", 3}}));
  job.rank0->send_all({{"exit", true}});
  EXPECT_EQ(next(*job.rank1).message, (json{{"exit", true}}));
}

TEST(SideChannel, TheLastWordOfARank0ThatEndsAtOnceArrives) {
  Job job;
  job.rank0->send_all({{"told", true}});
  job.rank0.reset();
  std::vector<json> received;  // both may come at once
  for (int i = 0; i < 200 && received.size() < 2; ++i) {
    for (const auto& [rank, message] : job.rank1->receive(kNoWake, 0.05)) received.push_back(message);
  }
  EXPECT_EQ(received, (std::vector<json>{{{"told", true}}, nullptr}));
}

TEST(SideChannel, CarriesMessagesLargerThanTheSocketTakesAtOnce) {
  Job job;
  const json large = {{"stacks", std::string(30 << 20, 'x')}};
  job.rank1->send(0, large);
  for (int i = 0; i < 1000; ++i) {
    job.rank1->receive(kNoWake, 0.001);  // later calls send what did not fit
    const auto received = job.rank0->receive(kNoWake, 0.001);
    if (received.empty()) continue;
    EXPECT_EQ(received[0].message, large);
    return;
  }
  FAIL() << "the message did not arrive";
}

TEST(SideChannel, CarriesTextsThatAreNotUtf8) {
  Job job;  // for example the name of a folder
  job.rank1->send(0, {{"doing", "reading gr\xfcn"}});
  EXPECT_EQ(next(*job.rank0).message, (json{{"doing", "reading gr\ufffdn"}}));
}

TEST(SideChannel, TellsThatAConnectionHasEnded) {
  Job job;
  job.rank1.reset();
  const auto ended = next(*job.rank0);
  EXPECT_EQ(ended.rank, 1);
  EXPECT_TRUE(ended.message.is_null());
}

TEST(SideChannel, TurnsStrangersAway) {
  Job job;
  const json contact = json::parse(job.shared);
  LineSocket wrong_token(connect_to(contact["addresses"], contact["port"], 1));
  wrong_token.send(R"({"rank":1,"token":1})");
  wrong_token.send(R"({"exit":true})");
  LineSocket no_json(connect_to(contact["addresses"], contact["port"], 1));
  no_json.send("GET / HTTP/1.1");
  LineSocket no_number(connect_to(contact["addresses"], contact["port"], 1));
  no_number.send(R"({"token":"x"})");
  job.rank1->send(0, {{"step", 3}});
  EXPECT_EQ(next(*job.rank0).message, (json{{"step", 3}}));
  EXPECT_TRUE(job.rank0->receive(kNoWake, 0.1).empty());
}

TEST(SideChannel, Rank0MayOpenAFileMoreForEachRank) {
  rlimit before{}, after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit fewer{.rlim_cur = 200, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &fewer), 0);
  const Job job;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, 202u);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(SideChannel, TurnsAStrangerAwayThatSendsNoEndOfALine) {
  Job job;
  const json contact = json::parse(job.shared);
  const FileDescriptor endless = connect_to(contact["addresses"], contact["port"], 1);
  std::size_t sent = 0;
  std::jthread sender([&] {
    const std::string zeros(1 << 20, '0');
    for (ssize_t written = 0; written >= 0;) {
      pollfd writable{endless.get(), POLLOUT, 0};
      poll(&writable, 1, 1000);
      written = ::send(endless.get(), zeros.data(), zeros.size(), MSG_NOSIGNAL);
      if (written > 0) sent += static_cast<std::size_t>(written);
      if (written < 0 && errno == EAGAIN) written = 0;
    }
  });
  std::jthread reader([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) job.rank0->receive(kNoWake, 0.05);
  });
  sender.join();
  EXPECT_LT(sent, std::size_t{32} << 20) << "a line of 1 MiB, and what the system's buffers take";
}

TEST(SideChannel, ARankThatCannotReachRank0SaysSo) {
  const FileDescriptor closed = listen_on_any_port();
  const int port = port_of(closed);
  shutdown(closed.get(), SHUT_RDWR);
  const json contact = {{"addresses", {"127.0.0.1"}}, {"port", port}, {"token", 1}, {"first", nullptr}};
  try {
    SideChannel(1, 2, {}, [&](const std::string&) { return contact.dump(); });
    FAIL() << "it joined";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("--watchdog.seconds 0"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace pixelbert::watch
