// The folder of a run: checkpoints/, metrics.jsonl, config.ini, monitoring/, watchdog/, and the files by which users
// and slurm/job.sh ask for its end (stop, stopped, deadline).
#pragma once

#include <filesystem>
#include <memory>

#include "comm/communicator.h"
#include "core/folder_lock.h"

namespace pixelbert::jobs {

// A run that has never saved begins again by itself, as a job does that dies early and is started again. One that has
// lost its checkpoints must not: Error when metrics.jsonl shows that it had some.
void check_never_saved(const std::filesystem::path& run_dir);

// Collective. Keeps other jobs out of the run folder, which rank 0 alone writes: the lock is there. Finds what cannot
// be written now rather than at the first save.
std::unique_ptr<FolderLock> take_run_folder(const std::filesystem::path& run_dir, comm::Communicator& control);

}  // namespace pixelbert::jobs
