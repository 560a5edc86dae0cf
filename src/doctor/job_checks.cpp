#include "doctor/job_checks.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "core/check.h"
#include "doctor/host_checks.h"

namespace pixelbert::doctor {
namespace {

std::int64_t microseconds_now() {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

std::string first_line(const char* path) {
  std::string line = "?";
  std::ifstream in(path);
  std::getline(in, line);
  return line;
}

// The seconds of a round of small messages, of which a collective among P ranks has log2(P); for plan.
double round_of_messages(const comm::SumTree& tree, const torch::Tensor& numbers, comm::Communicator& tensors) {
  constexpr int kSums = 50;
  const torch::Tensor few = numbers.narrow(0, 0, 256).zero_();
  tensors.barrier();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kSums; ++i) comm::sum_leaves(tree, {few}, few, tensors);
  tensors.barrier();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const int rounds = 2 * std::bit_width(static_cast<unsigned>(tensors.world_size() - 1));  // two collectives a sum
  return seconds / kSums / rounds;
}

}  // namespace

Finding check_single_copy(comm::Communicator& control, const std::vector<bool>& same_host) {
  const std::int64_t secret = 0x5eed + control.rank();
  torch::Tensor places = at::zeros({control.world_size(), 2}, at::kLong);
  places[control.rank()][0] = static_cast<std::int64_t>(::getpid());
  places[control.rank()][1] = reinterpret_cast<std::intptr_t>(&secret);
  control.all_reduce(places, comm::ReduceOp::Sum)->wait();

  Finding finding{"single copy", Level::Ok, "alone on its host", ""};
  for (int i = 1; i < control.world_size(); ++i) {
    const int other = (control.rank() + i) % control.world_size();
    if (!same_host[other]) continue;
    std::int64_t read = 0;
    const iovec here{&read, sizeof read};
    const iovec there{reinterpret_cast<void*>(places[other][1].item<std::int64_t>()), sizeof read};
    const auto pid = static_cast<pid_t>(places[other][0].item<std::int64_t>());
    const ssize_t got = ::process_vm_readv(pid, &here, 1, &there, 1, 0);
    if (got == static_cast<ssize_t>(sizeof read) && read == 0x5eed + other) {
      finding.found = "MPI can copy from one rank's memory into another's (CMA)";
    } else {
      finding = {"single copy", Level::Warning,
                 fmt::format("MPI copies twice: {} (ptrace_scope {})", std::strerror(errno),
                             first_line("/proc/sys/kernel/yama/ptrace_scope")),
                 "allow CMA (kernel.yama.ptrace_scope=0, or CAP_SYS_PTRACE for the container)"};
    }
    break;
  }
  control.barrier();  // until all have read
  return finding;
}

Finding check_clock(comm::Communicator& control) {
  constexpr int kRounds = 5;
  constexpr double kMuch = 1;  // seconds
  double offset = 0, best = 1e9;
  torch::Tensor time = at::zeros({1}, at::kLong);
  for (int other = 1; other < control.world_size(); ++other) {
    for (int round = 0; round < kRounds; ++round) {
      // Rank 0 asks, `other` sends its time, rank 0 sends when it asked and when the answer came.
      const std::int64_t asked = microseconds_now();
      control.broadcast(time, 0);
      time[0] = microseconds_now();
      control.broadcast(time, other);
      const std::int64_t heard = microseconds_now(), told = time.item<std::int64_t>();
      torch::Tensor when = at::zeros({2}, at::kLong);
      when[0] = asked;
      when[1] = heard;
      control.broadcast(when, 0);
      const auto begin = when[0].item<std::int64_t>(), end = when[1].item<std::int64_t>();
      const double round_trip = 1e-6 * static_cast<double>(end - begin);
      if (control.rank() == other && round_trip < best) {
        best = round_trip;
        offset = 1e-6 * (static_cast<double>(told) - 0.5 * static_cast<double>(begin + end));
      }
    }
  }
  if (control.rank() == 0) return {"clock", Level::Ok, "the others are compared with this rank's", ""};
  if (std::abs(offset) - best / 2 < kMuch) return {"clock", Level::Ok, "less than 1 s from rank 0's", ""};
  return {"clock", Level::Warning, fmt::format("{:+.3f} s from rank 0's (± {:.3f} s)", offset, best / 2),
          "let NTP set the hosts' clocks: logs and dashboards will not agree"};
}

Finding check_all_reduce(comm::Communicator& tensors, torch::Device device, bool one_host) {
  constexpr std::int64_t kNumbers = 8 << 20;
  constexpr int kRounds = 4;
  const int ranks = tensors.world_size();
  if (ranks == 1) return {"all-reduce", Level::Ok, "one rank: nothing to send", ""};
  torch::Tensor gradient = at::empty({kNumbers}, at::TensorOptions(device).dtype(at::kFloat));
  std::vector<std::int64_t> one_leaf_each(static_cast<std::size_t>(ranks) + 1);
  std::iota(one_leaf_each.begin(), one_leaf_each.end(), 0);
  const comm::SumTree tree(one_leaf_each);
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    gradient.fill_(1);
    tensors.barrier();
    const auto start = std::chrono::steady_clock::now();
    comm::sum_leaves(tree, {gradient}, gradient, tensors);
    tensors.barrier();  // waits for the GPU, too
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const double latency = round_of_messages(tree, gradient, tensors);
  gradient.fill_(1);
  comm::sum_leaves(tree, {gradient}, gradient, tensors);
  const auto sum = static_cast<float>(ranks);
  const bool right = gradient.min().item<float>() == sum && gradient.max().item<float>() == sum;

  // The least that each rank must send.
  const double rate = 4.0 * kNumbers * 2 * (ranks - 1) / ranks / best;
  const double link = one_host ? memory_rate() : link_rate();
  if (!right) {
    return {"all-reduce", Level::Failure, "the sum of the ranks' numbers is wrong",
            "the network or a memory is faulty: leave out hosts until it is right"};
  }
  // A sum takes several copies, and the ranks of a host share its memory.
  const double fair = one_host ? link / 4 / ranks : link * 0.5;
  if (tensors.rank() != 0) return {"all-reduce", Level::Ok, "as rank 0", ""};
  const std::string found = fmt::format("{:.2f} GB/s, {:.0f} us per round of messages; {} {}", rate / 1e9,
                                        1e6 * latency, one_host ? "memory copies" : "the network",
                                        link > 0 ? fmt::format("{:.2f} GB/s", link / 1e9) : "at an unknown rate");
  if (rate >= fair || device.is_cuda()) return {"all-reduce", Level::Ok, found, ""};
  return {"all-reduce", Level::Warning, found,
          one_host ? "other programs may use the cores or the memory"
                   : "name the fast network in PIXELBERT_TCP_INTERFACE (launch/env.sh)"};
}

}  // namespace pixelbert::doctor
