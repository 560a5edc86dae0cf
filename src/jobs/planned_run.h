// A training run as far as its size follows from its options and its data, without ranks.
#pragma once

#include <filesystem>
#include <optional>

#include "core/problems.h"
#include "data/data_sets.h"
#include "jobs/training_job.h"
#include "plan/calibration.h"
#include "plan/memory.h"
#include "plan/workload.h"

namespace pixelbert::jobs {

// The shard folders that are sound: opened, compared with their manifests file by file, and made for the job's task.
data::DataSets check_data(const TrainingJob& job, Problems& problems);

// The tokenizer that training would take; nothing, and a problem, when it would find none.
std::optional<text::WordPiece> check_vocabulary(const TrainingJob& job, const data::DataSets& data, Problems& problems);

// A job without problems, to the point where its work is known.
class PlannedRun {
 public:
  PlannedRun(TrainingJob job, data::DataSets data, const text::WordPiece& tokenizer);

  const TrainingJob& job() const { return job_; }
  const data::SampleStream& stream() const { return stream_; }
  const plan::ModelSize& size() const { return size_; }
  const plan::Workload& workload() const { return workload_; }
  plan::Cut cut(std::int64_t ranks) const;  // of a full step
  plan::MeasuredWork work_of_busiest_rank(std::int64_t ranks) const;

 private:
  TrainingJob job_;
  data::DataSets data_;
  data::SampleStream stream_;
  plan::ModelSize size_;
  plan::Workload workload_;
};

// What a finished or stopped run tells about speed.
plan::Calibration calibrate(const std::filesystem::path& run);

}  // namespace pixelbert::jobs
