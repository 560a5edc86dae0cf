// pixelbert doctor: checks on every rank what a job depends on, in less than a minute.
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "comm/texts.h"
#include "config/command_line.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/cores.h"
#include "core/problems.h"
#include "doctor/device_checks.h"
#include "doctor/finding.h"
#include "doctor/host_checks.h"
#include "doctor/job_checks.h"
#include "doctor/placement.h"

namespace pixelbert::apps {
namespace {

using doctor::Finding;
using doctor::Level;
using Findings = std::vector<Finding>;

struct DoctorConfig {
  std::vector<std::string> shards;
  std::string run_dir;
  comm::Device device = comm::Device::Auto;
  images::ImageConfig image;
};

template <class Field>
void describe(DoctorConfig& config, Field&& field) {
  field("data.shards", config.shards, "shard folder to read from; repeatable");
  field("run.dir", config.run_dir, "run folder to write to");
  field("train.device", config.device, "auto, cpu or cuda");
  describe(config.image, field);
}

// Checks of one rank. Each may fail, and each may hang (a network file system that does not answer): the other ranks
// wait for them only for a limited time.
class OwnChecks {
 public:
  void add(std::string name, std::function<Finding()> check) {
    state_->checks.emplace_back(std::move(name), std::move(check));
  }

  Findings run() {
    constexpr auto kPatience = std::chrono::seconds(20);
    std::promise<void> all_done;
    std::future<void> done = all_done.get_future();
    std::thread([state = state_, all_done = std::move(all_done)]() mutable {
      for (const auto& [name, check] : state->checks) {
        Finding finding;
        try {
          finding = check();
        } catch (const std::exception& error) {
          finding = {name, Level::Failure, error.what(), ""};
        }
        const std::lock_guard lock(state->mutex);
        state->findings.push_back(std::move(finding));
      }
      all_done.set_value();
    }).detach();
    const bool in_time = done.wait_for(kPatience) == std::future_status::ready;
    const std::lock_guard lock(state_->mutex);
    Findings findings = state_->findings;
    if (!in_time && findings.size() < state_->checks.size()) {
      findings.push_back({state_->checks[findings.size()].first, Level::Failure,
                          fmt::format("no answer within {} s", kPatience.count()),
                          "look at the file system or the device: it hangs on this host"});
    }
    return findings;
  }

 private:
  struct State {
    std::vector<std::pair<std::string, std::function<Finding()>>> checks;
    std::mutex mutex;
    Findings findings;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();  // kept by a check that hangs
};

constexpr auto kPatienceWithRanks = std::chrono::seconds(40);  // all checks together take a minute

bool every_rank(bool holds, comm::Communicator& control) {
  torch::Tensor all = at::full({1}, holds ? 1 : 0, at::kLong);
  control.all_reduce(all, comm::ReduceOp::Min)->wait();
  return all.item<std::int64_t>() == 1;
}

std::string driver_version() {
  std::ifstream in("/proc/driver/nvidia/version");
  std::string line;
  return std::getline(in, line) ? line : "not known";
}

struct Device {
  std::optional<torch::Device> chosen;
  Findings findings;
};

// Collective.
Device choose_device(const DoctorConfig& config, const comm::MpiSession& session, comm::Communicator& control) {
  Device device;
  try {
    device.chosen = comm::choose_device(config.device, session, control);
  } catch (const Error& error) {
    device.findings = {{"device", Level::Failure, error.what(), "or give --train.device cpu"}};
    return device;
  }
  if (device.chosen->is_cuda()) {
    device.findings.push_back(
        {"device", Level::Ok, fmt::format("{} of CUDA {}", device.chosen->str(), comm::cuda_version()), ""});
    device.findings.push_back({"driver", Level::Ok, driver_version(), ""});
    const comm::NcclVersions nccl = comm::nccl_versions();
    const bool newer = nccl.library >= nccl.header;
    const auto readable = [](int code) { return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100); };
    device.findings.push_back({"NCCL", newer ? Level::Ok : Level::Failure,
                               fmt::format("library {}, header {}", readable(nccl.library), readable(nccl.header)),
                               newer ? "" : "an older libnccl.so comes first in LD_LIBRARY_PATH: remove it"});
  } else {
    device.findings = {{"device", Level::Ok, "CPU", ""}};
  }
  return device;
}

OwnChecks own_checks(const DoctorConfig& config, const comm::MpiSession& session) {
  OwnChecks own;
  own.add("/dev/shm", [&session] { return doctor::check_shared_memory(session.local_size()); });
  for (const std::string& folder : config.shards) {
    own.add("file locks", [folder] { return doctor::check_locks(folder); });
    own.add("reading", [folder, rank = session.rank(), ranks = session.world_size()] {
      return doctor::check_read_rate(folder, rank, ranks);
    });
    own.add("loader", [folder, image = config.image, rank = session.rank()] {
      return doctor::check_loader(folder, image, rank);
    });
  }
  if (!config.run_dir.empty() && session.rank() == 0) {
    own.add("run folder", [dir = config.run_dir] { return doctor::check_run_folder(dir); });
  }
  return own;
}

// Collective.
Findings check_hosts(const comm::MpiSession& session, comm::Communicator& control) {
  std::vector<doctor::Placement> placements;
  std::vector<bool> same_host;
  for (const std::string& text :
       comm::gather_texts(doctor::to_text(doctor::own_placement(session.host(), session.local_size())), control)) {
    placements.push_back(doctor::placement_from_text(text));
    same_host.push_back(placements.back().host == session.host());
  }
  Findings findings = {doctor::check_placement(placements, session.rank())};
  findings.push_back(doctor::check_single_copy(control, same_host));
  findings.push_back(doctor::check_clock(control));
  return findings;
}

// Collective.
Findings check_device(const std::optional<torch::Device>& device, const comm::MpiSession& session,
                      comm::Communicator& control) {
  if (!every_rank(device.has_value(), control)) {
    return {{"peak", Level::Failure, "not tried: some ranks have no device", ""},
            {"all-reduce", Level::Failure, "not tried: some ranks have no device", ""}};
  }
  at::set_num_threads(compute_threads(session.local_size()));
  Findings findings = doctor::check_peaks(doctor::measure_peaks(control, *device), session.rank());
  if (device->is_cuda()) findings.push_back(doctor::check_copies(control, *device));
  const auto tensors = comm::make_device_communicator(*device, session, control, kPatienceWithRanks);
  findings.push_back(doctor::check_all_reduce(*tensors, *device, session.local_size() == session.world_size()));
  return findings;
}

}  // namespace

int doctor(const Arguments& arguments, const comm::MpiSession& session) {
  DoctorConfig config;
  config::CommandLine line(
      "doctor",
      "pixelbert doctor: checks that GPUs, MPI, disks and cores are what a job needs.\nRun it as the "
      "job will be run, under mpirun or in its allocation. Exit code 1 when a check fails.");
  line.add(config);
  if (!line.parse(arguments)) return 0;
  Problems problems;
  find_problems(config.image, problems);
  problems.throw_if_any();

  activity::doing(activity::Phase::Other, "checks, which have limits of their own");
  const auto control = comm::make_control_communicator(session, kPatienceWithRanks);
  Device device = choose_device(config, session, *control);
  Findings findings = std::move(device.findings);
  const auto add = [&](Findings more) { std::ranges::move(more, std::back_inserter(findings)); };
  add(own_checks(config, session).run());
  add(check_hosts(session, *control));
  add(check_device(device.chosen, session, *control));

  std::vector<Findings> all;
  for (const std::string& text : comm::gather_texts(doctor::to_text(findings), *control)) {
    all.push_back(doctor::from_text(text));
  }
  if (session.rank() == 0) std::cout << doctor::table(all) << std::flush;
  return doctor::worst(all) == Level::Failure ? 1 : 0;
}

}  // namespace pixelbert::apps
