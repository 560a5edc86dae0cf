#include "metrics/prometheus_sink.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"
#include "tests/metrics/example_stats.h"

namespace pixelbert::metrics {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::ThrowsMessage;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Listens at `port`; 0: at a free one, to which it sets `port`.
FileDescriptor bound_socket(std::uint16_t& port) {
  FileDescriptor fd(::socket(AF_INET, SOCK_STREAM, 0));
  const int reuse = 1;  // the server's closed connections may linger
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  sockaddr_in address = loopback(port);
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(fd.get(), raw, size), 0);
  EXPECT_EQ(::listen(fd.get(), 1), 0);
  EXPECT_EQ(::getsockname(fd.get(), raw, &size), 0);
  port = ntohs(address.sin_port);
  return fd;
}

std::uint16_t free_port() {
  std::uint16_t port = 0;
  bound_socket(port);
  return port;
}

FileDescriptor connected(std::uint16_t port) {
  FileDescriptor fd(::socket(AF_INET, SOCK_STREAM, 0));
  const sockaddr_in address = loopback(port);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

std::string scrape(std::uint16_t port) {
  const FileDescriptor fd = connected(port);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(::send(fd.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, n);
  return answer;
}

// "name{labels}" -> value
std::map<std::string, double> samples_of(const std::string& answer) {
  EXPECT_THAT(answer, testing::StartsWith("HTTP/1.1 200 OK"));
  std::map<std::string, double> samples;
  std::istringstream lines(answer.substr(answer.find("\r\n\r\n") + 4));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::size_t blank = line.rfind(' ');
    samples[line.substr(0, blank)] = std::stod(line.substr(blank + 1));
  }
  return samples;
}

class PrometheusSinkTest : public testing::Test {
 protected:
  std::map<std::string, double> scraped() { return samples_of(scrape(port_)); }

  // Local rank 3, and back to the system when the job ends.
  void TearDown() override {
    sink_.reset();
    std::uint16_t port = port_;
    bound_socket(port);
    EXPECT_EQ(port, port_);
  }

  std::uint16_t port_ = free_port();
  std::unique_ptr<PrometheusSink> sink_ = std::make_unique<PrometheusSink>(
      MetricsConfig{.port = port_ - 3}, 3, Progress{.step = 6, .epoch = 1, .planned_steps = 500},
      std::map<std::string, std::string>{{"version", "0.1.0"}, {"commit", "abc"}});
};

TEST_F(PrometheusSinkTest, BeginsWhereTheJobDoes) {
  const std::map<std::string, double> samples = scraped();
  EXPECT_EQ(samples.at("pixelbert_step"), 6);
  EXPECT_EQ(samples.at("pixelbert_epoch"), 1);
}

TEST_F(PrometheusSinkTest, ServesEveryNumberOfAStepUnderItsName) {
  StepStats stats = example_stats(7);
  stats.bad_samples = {{"not-an-image", 2}};
  stats.checkpoint_seconds = {1.5};
  stats.device_memory_bytes = 4096;
  sink_->record(stats);
  const std::map<std::string, double> expected = {
      {"pixelbert_build_info{commit=\"abc\",version=\"0.1.0\"}", 1},
      {"pixelbert_step", 7},
      {"pixelbert_planned_steps", 500},
      {"pixelbert_epoch", 0},
      {"pixelbert_samples_total", 64},
      {"pixelbert_step_seconds_count", 1},
      {"pixelbert_step_seconds_bucket{le=\"0.5\"}", 0},
      {"pixelbert_step_seconds_bucket{le=\"1\"}", 1},
      {"pixelbert_phase_seconds_total{phase=\"data\"}", 0.1},
      {"pixelbert_phase_seconds_total{phase=\"forward\"}", 0.2},
      {"pixelbert_phase_seconds_total{phase=\"backward\"}", 0.3},
      {"pixelbert_phase_seconds_total{phase=\"reduce_wait\"}", 0.05},
      {"pixelbert_phase_seconds_total{phase=\"optimizer\"}", 0.02},
      {"pixelbert_phase_seconds_total{phase=\"checkpoint\"}", 0},
      {"pixelbert_phase_seconds_total{phase=\"other\"}", 0.01},
      {"pixelbert_loss{term=\"total\"}", 4.2},
      {"pixelbert_loss{term=\"mlm\"}", 3.5},
      {"pixelbert_loss{term=\"itm\"}", 0.7},
      {"pixelbert_accuracy{term=\"mlm\"}", 0.25},
      {"pixelbert_accuracy{term=\"itm\"}", 0.5},
      {"pixelbert_learning_rate{group=\"backbone\"}", 1e-2},
      {"pixelbert_learning_rate{group=\"transformer\"}", 1e-4},
      {"pixelbert_gradient_norm", 12.5},
      {"pixelbert_reduced_bytes_total", 1000},
      {"pixelbert_queue_batches", 3},
      {"pixelbert_bad_samples_total{reason=\"not-an-image\"}", 2},
      {"pixelbert_checkpoint_seconds_sum", 1.5},
      {"pixelbert_model_flops_per_second", 1e10},
      {"pixelbert_peak_flops_per_second", 4e10},
      {"pixelbert_device_memory_bytes", 4096},
  };
  const auto found = scraped();
  for (const auto& [name, value] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_NEAR(found.at(name), value, 1e-9 * (1 + std::abs(value))) << name;
  }
  EXPECT_TRUE(found.contains("process_resident_memory_bytes"));
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_THAT(found.at("pixelbert_checkpoint_last_success_timestamp_seconds"),
              AllOf(Le(now.count()), Ge(now.count() - 600)));
}

TEST_F(PrometheusSinkTest, CountersAddUpOverTheSteps) {
  StepStats stats = example_stats(1);
  double seconds = 0;
  for (std::int64_t step = 1; step <= 50; ++step) {
    stats = example_stats(step);
    stats.phase_seconds[step % kStepPhases] += 0.125;
    stats.seconds += 0.125;
    seconds += stats.seconds;
    if (step % 10 == 0) stats.skipped = "not_finite";
    sink_->record(stats);
  }
  const auto found = scraped();
  double phases = 0;
  for (std::size_t i = 0; i < kStepPhases; ++i) {
    const std::string_view phase = names(Phase())[i];
    phases += found.at(fmt::format("pixelbert_phase_seconds_total{{phase=\"{}\"}}", phase));
  }
  EXPECT_NEAR(phases, seconds, 1e-9);
  EXPECT_NEAR(found.at("pixelbert_step_seconds_sum"), seconds, 1e-9);
  EXPECT_EQ(found.at("pixelbert_samples_total"), 50 * 64);
  EXPECT_EQ(found.at("pixelbert_reduced_bytes_total"), 50'000);
  EXPECT_EQ(found.at("pixelbert_skipped_steps_total{reason=\"not_finite\"}"), 5);
  EXPECT_EQ(found.at("pixelbert_step"), 50);
}

TEST_F(PrometheusSinkTest, NeverServesHalfAStep) {
  std::atomic<bool> done = false;
  std::thread loop([&] {
    for (std::int64_t step = 7; !done; ++step) {
      StepStats stats = example_stats(step);
      stats.loss = static_cast<double>(step);
      stats.device_memory_bytes = static_cast<std::uint64_t>(step);  // written last
      sink_->record(stats);
    }
  });
  for (int i = 0; i < 200; ++i) {
    const auto found = scraped();
    const double step = found.at("pixelbert_step");
    if (step == 6) continue;  // nothing is recorded yet
    EXPECT_EQ(found.at("pixelbert_loss{term=\"total\"}"), step);
    EXPECT_EQ(found.at("pixelbert_device_memory_bytes"), step);
    EXPECT_EQ(found.at("pixelbert_step_seconds_count"), step - 6);
  }
  done = true;
  loop.join();
}

// Some send nothing, some a header that never ends. With the server's default of two threads that wait for half a
// minute each, the scrape would take a quarter of an hour.
TEST_F(PrometheusSinkTest, AnswersBesideConnectionsThatAskForNothing) {
  std::vector<FileDescriptor> silent, slow;
  for (int i = 0; i < 32; ++i) {
    silent.push_back(connected(port_));
    slow.push_back(connected(port_));
  }
  std::atomic<bool> done = false;
  std::thread drip([&] {
    while (!done) {
      for (const FileDescriptor& fd : slow) ::send(fd.get(), "G", 1, MSG_NOSIGNAL);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(scraped().at("pixelbert_step"), 6);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));  // 4 seconds when nothing else runs
  done = true;
  drip.join();
}

TEST_F(PrometheusSinkTest, EventsAreCountedFromZero) {
  const auto found = scraped();
  EXPECT_EQ(found.at("pixelbert_skipped_steps_total{reason=\"not_finite\"}"), 0);
  EXPECT_EQ(found.at("pixelbert_bad_samples_total{reason=\"corrupt\"}"), 0);
}

TEST_F(PrometheusSinkTest, TellsThePhaseOfTheMomentBetweenSteps) {
  activity::doing(activity::Phase::Checkpoint, "saving");
  EXPECT_EQ(scraped().at("pixelbert_phase_active{phase=\"checkpoint\"}"), 1);
  EXPECT_EQ(scraped().at("pixelbert_phase_active{phase=\"data\"}"), 0);
  activity::doing(activity::Phase::Data, "waiting");
  EXPECT_EQ(scraped().at("pixelbert_phase_active{phase=\"checkpoint\"}"), 0);
  EXPECT_EQ(scraped().at("pixelbert_phase_active{phase=\"data\"}"), 1);
}

TEST_F(PrometheusSinkTest, TellsWhetherASaveRunsBesideTraining) {
  EXPECT_EQ(scraped().at("pixelbert_saving"), 0);
  std::jthread saver([](const std::stop_token& stop) {
    activity::name_thread("saver");
    activity::doing(activity::Phase::Checkpoint, "writing");
    while (!stop.stop_requested()) std::this_thread::yield();
  });
  while (std::ranges::none_of(activity::all(), [](const auto& thread) { return thread.doing == "writing"; })) {
    std::this_thread::yield();
  }
  EXPECT_EQ(scraped().at("pixelbert_saving"), 1);
  saver.request_stop();
  saver.join();
  EXPECT_EQ(scraped().at("pixelbert_saving"), 0);
}

TEST(PrometheusEndpoint, NamesTheOptionWhenItsPortIsTaken) {
  std::uint16_t port = 0;
  const FileDescriptor taken = bound_socket(port);
  const MetricsConfig config{.port = port - 1};
  EXPECT_THAT([&] { PrometheusSink(config, 1, {}, {}); },
              ThrowsMessage<Error>(AllOf(HasSubstr(fmt::format("cannot serve metrics at 127.0.0.1:{}", port)),
                                         HasSubstr(fmt::format("--metrics.port {} + local rank 1", port - 1)))));
}

}  // namespace
}  // namespace pixelbert::metrics
