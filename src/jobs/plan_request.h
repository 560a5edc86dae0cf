// What `pixelbert plan` is asked: a training on given nodes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/command_line.h"
#include "data/data_sets.h"
#include "jobs/training_job.h"
#include "plan/calibration.h"
#include "plan/memory.h"
#include "plan/replay.h"
#include "text/wordpiece.h"

namespace pixelbert::jobs {

struct PlanConfig {
  std::int64_t nodes = 1;
  std::int64_t gpus_per_node = 0;
  std::int64_t ranks_per_node = 1;
  std::int64_t cores_per_node = 0;
  double network_gbit = 0;
  double network_latency_us = 0;
  std::string calibration;
  std::string out;

  bool cuda() const { return gpus_per_node > 0; }
  std::int64_t ranks_on_node() const { return cuda() ? gpus_per_node : ranks_per_node; }
  std::int64_t ranks() const { return nodes * ranks_on_node(); }
  std::int64_t cores_per_rank() const;
  double gbit() const;        // given or assumed
  double latency_us() const;  // the same
};

template <class Field>
void describe(PlanConfig& config, Field&& field) {
  field("nodes", config.nodes, "nodes of the job");
  field("gpus-per-node", config.gpus_per_node, "GPUs of a node, one rank for each; 0: a job on CPUs");
  field("ranks-per-node", config.ranks_per_node, "ranks on each node of a job on CPUs");
  field("cores-per-node", config.cores_per_node, "cores the job takes of a node; 0: as many as this machine has");
  field("network-gbit", config.network_gbit,
        "Gbit/s of a node's link in each direction; 0: assumed, 100 with GPUs and 10 without");
  field("network-latency-us", config.network_latency_us,
        "microseconds of a round of small messages, as pixelbert doctor measures it; 0: assumed, 20 with GPUs and 100 "
        "without");
  field("calibration", config.calibration,
        "run folder to learn the speed from, or the calibration.json that learning left there; empty: assumed");
  field("out", config.out, "file for sbatch to write");
}

// Returns nodes like those of the job with about as many ranks in all.
plan::Cluster cluster_of(const PlanConfig& config, std::int64_t ranks);

// The options and files, checked.
struct PlanRequest {
  PlanConfig options;
  bool finetuning = false;
  TrainingJob job;
  data::DataSets data;
  std::optional<text::WordPiece> tokenizer;
  plan::Compute compute;
  plan::Calibration speed;
  config::Arguments job_arguments;  // of the training
  std::filesystem::path root;       // of slurm/job.sh, for --out

  const char* command() const { return finetuning ? "finetune" : "pretrain"; }
};

// Returns nothing after --help or --print-config. Throws UsageError that lists all problems.
std::optional<PlanRequest> read_plan_request(const config::Arguments& arguments);

// Returns the arguments without those of `plan` itself.
config::Arguments arguments_of_job(const config::Arguments& arguments);

}  // namespace pixelbert::jobs
