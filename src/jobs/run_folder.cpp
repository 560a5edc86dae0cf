#include "jobs/run_folder.h"

#include <ATen/ops/zeros.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"
#include "jobs/ranks.h"
#include "metrics/jsonl_sink.h"

namespace pixelbert::jobs {

void check_checkpoints_not_lost(const std::filesystem::path& run_dir) {
  const std::filesystem::path path = run_dir / "metrics.jsonl";
  const std::string saved = metrics::first_saved_line(path);
  PB_CHECK(saved.empty(),
           "{} has a step that was saved, but there is no checkpoint in {}: restore the checkpoints, start "
           "another --run.dir, or move metrics.jsonl away to begin again here. Found: {:.60}...",
           path.string(), (run_dir / checkpoint::kCheckpointsName).string(), saved);
}

std::unique_ptr<FolderLock> take_run_folder(const std::filesystem::path& run_dir, comm::Communicator& control) {
  std::unique_ptr<FolderLock> lock;
  on_rank_0(control, [&] {
    activity::doing(activity::Phase::Start, "locking the run folder");
    std::filesystem::create_directories(run_dir);
    lock = std::make_unique<FolderLock>(run_dir / "lock");
    std::filesystem::create_directories(run_dir / checkpoint::kCheckpointsName);
    for (const char* name : {"", checkpoint::kCheckpointsName, "monitoring", "watchdog"}) {
      if (std::filesystem::exists(run_dir / name)) check_can_write_into(run_dir / name);
    }
    std::filesystem::remove(run_dir / "stopped");
  });
  return lock;
}

std::vector<int> checkpoint_writers(const std::filesystem::path& run_dir, const std::vector<int>& host_of_rank,
                                    comm::Communicator& control) {
  activity::doing(activity::Phase::Start, "looking at the run folder");
  struct stat folder{};
  const std::filesystem::path checkpoints = run_dir / checkpoint::kCheckpointsName;
  const bool reached = ::stat(checkpoints.c_str(), &folder) == 0 && ::access(checkpoints.c_str(), W_OK) == 0;
  const std::string own = reached ? fmt::format("{} {}", folder.st_dev, folder.st_ino) : "";
  activity::waiting(activity::Wait::Start, "which ranks reach the run folder");
  const std::string of_rank_0 = comm::broadcast_text(own, control);

  const auto host = [&](int rank) { return host_of_rank[static_cast<std::size_t>(rank)]; };
  torch::Tensor all = at::zeros({control.world_size()}, at::kLong);
  auto* const writes = all.mutable_data_ptr<std::int64_t>();
  writes[control.rank()] = control.rank() == 0 || (host(control.rank()) == host(0) && own == of_rank_0);
  control.all_reduce(all, comm::ReduceOp::Sum)->wait();
  std::vector<int> writers;
  for (int rank = 0; rank < control.world_size(); ++rank) {
    if (writes[rank] != 0) writers.push_back(rank);
  }
  return writers;
}

}  // namespace pixelbert::jobs
