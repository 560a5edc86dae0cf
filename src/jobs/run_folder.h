// The folder of a run: checkpoints/, metrics.jsonl, config.ini, monitoring/, watchdog/, and the files that
// users and slurm/job.sh use to end the run (stop, stopped, deadline).
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "core/folder_lock.h"

namespace pixelbert::jobs {

// Throws Error if metrics.jsonl shows that the run has lost its checkpoints. A run that never saved may begin again by
// itself: a job that died early is started again.
void check_checkpoints_not_lost(const std::filesystem::path& run_dir);

// Collective. Keeps other jobs out of the run folder. Returns the lock on rank 0, the only rank that writes there. If
// something cannot be written, fails now and not at the first save.
std::unique_ptr<FolderLock> take_run_folder(const std::filesystem::path& run_dir, comm::Communicator& control);

// Collective, after take_run_folder(). Returns the ranks that write checkpoints there: those of rank 0's host, without
// ranks (of other containers) that do not reach the same folder.
std::vector<int> checkpoint_writers(const std::filesystem::path& run_dir, const std::vector<int>& host_of_rank,
                                    comm::Communicator& control);

}  // namespace pixelbert::jobs
