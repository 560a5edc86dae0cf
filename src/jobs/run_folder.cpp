#include "jobs/run_folder.h"

#include <string>

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
           path.string(), (run_dir / "checkpoints").string(), saved);
}

std::unique_ptr<FolderLock> take_run_folder(const std::filesystem::path& run_dir, comm::Communicator& control) {
  std::unique_ptr<FolderLock> lock;
  on_rank_0(control, [&] {
    activity::doing(activity::Phase::Start, "locking the run folder");
    std::filesystem::create_directories(run_dir);
    lock = std::make_unique<FolderLock>(run_dir / "lock");
    std::filesystem::create_directories(run_dir / "checkpoints");
    for (const char* name : {"", "checkpoints", "monitoring", "watchdog"}) {
      if (std::filesystem::exists(run_dir / name)) check_can_write_into(run_dir / name);
    }
    std::filesystem::remove(run_dir / "stopped");
  });
  return lock;
}

}  // namespace pixelbert::jobs
