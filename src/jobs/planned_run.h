// The size of a training run, as it follows from options and data, without ranks.
#pragma once

#include <filesystem>
#include <optional>

#include "core/problems.h"
#include "data/data_sets.h"
#include "data/padding.h"
#include "jobs/training_job.h"
#include "plan/calibration.h"
#include "plan/memory.h"
#include "plan/workload.h"

namespace pixelbert::jobs {

// Opens the shard folders and compares them with their manifests, file by file. Returns those that are sound and made
// for the job's task; adds a problem for each of the others.
data::DataSets check_data(const TrainingJob& job, Problems& problems);

// Returns the tokenizer that training would use. If there is none, returns nothing and adds a problem.
std::optional<text::WordPiece> check_vocabulary(const TrainingJob& job, const data::DataSets& data, Problems& problems);

// A job without problems, prepared as far as its work is known.
class PlannedRun {
 public:
  // `data` as check_data() returned it.
  PlannedRun(TrainingJob job, const data::DataSets& data, const text::WordPiece& tokenizer);

  const TrainingJob& job() const { return job_; }
  const data::SampleStream& stream() const { return stream_; }
  const plan::ModelSize& size() const { return size_; }
  const plan::Workload& workload() const { return workload_; }
  plan::Cut cut(std::int64_t ranks) const;  // for a full step
  data::Padding padding(std::int64_t ranks) const;
  const plan::RunWork& work() const { return work_; }

 private:
  TrainingJob job_;
  data::SampleStream stream_;
  plan::ModelSize size_;
  plan::Workload workload_;
  plan::RunWork work_;
};

// Returns the speed measured in a finished or stopped run.
plan::Calibration calibrate(const std::filesystem::path& run);

}  // namespace pixelbert::jobs
