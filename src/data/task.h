// What is trained: decides what a batch contains and which objective reads it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::data {

enum class Task { Pretrain, Vqa, Nlvr2, Retrieval };
constexpr auto names(Task) {
  return std::to_array<std::string_view>({"pretrain", "vqa", "nlvr2", "retrieval"});
}

// Throws UsageError, listing `allowed`, for any other name. `what` has the name: "--task", "the checkpoint's task".
Task task_named(const std::string& what, const std::string& name,
                const std::vector<Task>& allowed = {Task::Pretrain, Task::Vqa, Task::Nlvr2, Task::Retrieval});

enum class Objectives { Both, Mlm, Itm };
constexpr auto names(Objectives) {
  return std::to_array<std::string_view>({"mlm,itm", "mlm", "itm"});
}

struct PretrainConfig {
  Objectives objectives = Objectives::Both;
  double mask_probability = 0.15;  // paper, section 3.2
  bool mlm_on_negatives = true;    // SOHO

  bool mlm() const { return objectives != Objectives::Itm; }  // mask tokens
  bool itm() const { return objectives != Objectives::Mlm; }  // give half of the pairs a foreign text
};

template <class Field>
void describe(PretrainConfig& config, Field&& field) {
  field("train.objectives", config.objectives, "mlm,itm, or one of them");
  field("data.mask-probability", config.mask_probability, "share of tokens that are masked");
  field("data.mlm-on-negatives", config.mlm_on_negatives,
        "replaced texts, which are masked too, count in the MLM loss");
}

// VQA and NLVR2.
struct HeadConfig {
  double dropout = 0.5;  // SOHO
};

template <class Field>
void describe(HeadConfig& config, Field&& field) {
  field("finetune.head-dropout", config.dropout, "dropout in the head of vqa and nlvr2");
}

struct RetrievalConfig {
  std::int64_t foreign_texts = 20;  // per pair; this and the next: the paper
  std::int64_t hard_texts = 5;
};

template <class Field>
void describe(RetrievalConfig& config, Field&& field) {
  field("retrieval.foreign-texts", config.foreign_texts, "texts of other images that are scored beside each pair");
  field("retrieval.hard-texts", config.hard_texts, "highest-scoring ones of them that are learned from");
}

// One problem, naming the option, for every value that cannot work.
void find_problems(const PretrainConfig& config, Problems& problems);
void find_problems(const HeadConfig& config, Problems& problems);
void find_problems(const RetrievalConfig& config, Problems& problems);

struct TaskConfig {
  Task task = Task::Pretrain;
  PretrainConfig pretrain = {};
  HeadConfig head = {};
  RetrievalConfig retrieval = {};
  std::int64_t answers = 0;  // VQA: size of the answer vocabulary, which the data gives
};

}  // namespace pixelbert::data
