#include "train/background_save.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "checkpoint/range_file.h"
#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/faults.h"
#include "core/files.h"
#include "core/host.h"
#include "core/json_text.h"
#include "core/running_clock.h"
#include "core/single_thread.h"

namespace pixelbert::train {
namespace {

namespace fs = std::filesystem;
using activity::Phase;
using nlohmann::json;

// Small enough to stay in the core's cache between the passes over a block.
constexpr std::int64_t kBlockBytes = std::int64_t{512} << 10;

std::atomic<bool> left_behind = false;

// What one rank tells the others once it has written its part.
struct Findings {
  std::string host;
  std::string disk;       // why it could not write
  std::string values;     // which of its values are not finite
  std::uint32_t weights;  // their checksum
  std::vector<checkpoint::WrittenRange> model, optimizer;
};

json json_of(const Findings& findings) {
  const auto ranges = [](const std::vector<checkpoint::WrittenRange>& written) {
    json list = json::array();
    for (const auto& [begin, digest] : written) list.push_back({begin, digest.bytes, digest.crc32c});
    return list;
  };
  return {{"host", findings.host},       {"disk", findings.disk},           {"values", findings.values},
          {"weights", findings.weights}, {"model", ranges(findings.model)}, {"optimizer", ranges(findings.optimizer)}};
}

Findings parse_findings(const json& text) {
  const auto ranges = [&](const char* name) {
    std::vector<checkpoint::WrittenRange> written;
    for (const json& range : text.at(name)) written.push_back({range[0], {range[1], range[2]}});
    return written;
  };
  return {.host = text.at("host"),
          .disk = text.at("disk"),
          .values = text.at("values"),
          .weights = text.at("weights"),
          .model = ranges("model"),
          .optimizer = ranges("optimizer")};
}

torch::Tensor in_memory_order(const torch::Tensor& tensor) {
  return tensor.as_strided({tensor.numel()}, {1});
}

comm::Range overlap(comm::Range a, comm::Range b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {.begin = begin, .end = std::max(begin, std::min(a.end, b.end))};
}

std::span<const std::byte> bytes_of(const torch::Tensor& host) {
  return {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()};
}

// Returns a stream of the GPU that holds the tensors, if one does.
std::optional<c10::Stream> stream_to_read(const HeldTensors& tensors) {
  if (tensors.empty()) return std::nullopt;
  const torch::Device device = tensors.begin()->second.own.device();
  if (device.is_cpu()) return std::nullopt;
  return c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

// Returns what is wrong with the training itself, if anything is.
std::string find_wrong_training(const std::vector<Findings>& ranks, std::int64_t step) {
  for (const Findings& rank : ranks) {
    if (rank.values.empty()) continue;
    return fmt::format(
        "step {}: {}: not saved, older checkpoints are untouched. Start a new run from them "
        "with lower learning rates (--init RUN, another --run.dir)",
        step, rank.values);
  }
  // A replica that has drifted would ruin the run silently.
  std::map<std::uint32_t, std::int64_t> count;
  for (const Findings& rank : ranks) ++count[rank.weights];
  if (count.size() == 1) return "";
  std::vector<std::string> suspects;  // the ranks outside the majority; all, if there is none
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (2 * count[ranks[rank].weights] > std::ssize(ranks)) continue;
    suspects.push_back(fmt::format("rank {} on host {} ({:08x})", rank, ranks[rank].host, ranks[rank].weights));
  }
  return fmt::format(
      "the ranks no longer train the same model: at step {} the CRC-32C of the weights differs on {}; "
      "look for faulty memory or different library versions there",
      step, fmt::join(suspects, ", "));
}

}  // namespace

// What the thread shares with the one that trains.
struct BackgroundSave::Shared {
  enum class Stage { Reading, Ending, Done };

  Target target;
  checkpoint::Description description;
  HeldTensors model, optimizer;
  SavePlan model_plan, optimizer_plan;

  std::mutex mutex;
  std::condition_variable changed;
  Stage stage = Stage::Reading;
  std::int64_t progress = 0;
  SaveOutcome outcome;
  std::exception_ptr lost;  // instead of an outcome

  int rank() const { return target.communicator->rank(); }

  // Of the thread.
  void moved(std::string what);
  void reach(Stage next);
  SaveOutcome save();
  template <class Action>
  std::string failure_on_rank_0(Action action);
  std::vector<checkpoint::WrittenRange> write_part(const SavePlan& plan, const fs::path& path, Findings& findings);
  torch::Tensor values_of(const Block& block);
  std::uint32_t checksum_of_weights();
  void finish(checkpoint::UnfinishedSave& unfinished, const std::vector<Findings>& ranks);

  // Of the other one. Returns false if there is no progress for `patience`.
  bool wait_for(Stage wanted, std::chrono::steady_clock::duration patience);
};

void BackgroundSave::Shared::moved(std::string what) {
  activity::doing(Phase::Checkpoint, std::move(what));
  const std::lock_guard lock(mutex);
  ++progress;
}

void BackgroundSave::Shared::reach(Stage next) {
  const std::lock_guard lock(mutex);
  stage = next;
  changed.notify_all();
}

bool BackgroundSave::Shared::wait_for(Stage wanted, std::chrono::steady_clock::duration patience) {
  std::unique_lock lock(mutex);
  std::int64_t seen = progress;
  auto since = std::chrono::steady_clock::now();
  while (!changed.wait_for(lock, std::chrono::milliseconds(200), [&] { return stage >= wanted; })) {
    if (seen != progress) {
      seen = progress;
      since = std::chrono::steady_clock::now();
      activity::moved();
    }
    if (std::chrono::steady_clock::now() - since > patience) return false;
  }
  return true;
}

// Returns a block's values on the host, in the order of memory, if this rank writes it.
torch::Tensor BackgroundSave::Shared::values_of(const Block& block) {
  const HeldTensor& tensor = *block.tensor;
  const bool writes = block.writer == rank();
  if (tensor.holdings.empty()) {
    if (!writes) return {};
    return in_memory_order(tensor.own).slice(0, block.elements.begin, block.elements.end).cpu();
  }
  torch::Tensor values;
  for (const Holding& holding : tensor.holdings) {
    const comm::Range common = overlap(holding.elements, block.elements);
    if (common.size() == 0) continue;
    const bool holds = holding.rank == rank();
    torch::Tensor own;
    if (holds) {
      own = in_memory_order(tensor.own)
                .slice(0, common.begin - holding.elements.begin, common.end - holding.elements.begin)
                .cpu();
    }
    if (!writes) {
      if (holds) target.communicator->send(own, block.writer);
      continue;
    }
    if (holds && common.size() == block.elements.size()) return own;
    if (!values.defined()) values = at::empty({block.elements.size()}, tensor.like.options().device(at::kCPU));
    const torch::Tensor place = values.slice(0, common.begin - block.elements.begin, common.end - block.elements.begin);
    if (holds) {
      place.copy_(own);
    } else {
      target.communicator->receive(place, holding.rank);
    }
  }
  return values;
}

// Where a rank cannot write, it still receives the rest, so that the others come to the end.
std::vector<checkpoint::WrittenRange> BackgroundSave::Shared::write_part(const SavePlan& plan, const fs::path& path,
                                                                         Findings& findings) {
  std::optional<checkpoint::RangeFile> file;
  const auto attempt = [&](auto&& action) {
    if (!findings.disk.empty()) return;
    try {
      action();
    } catch (const Error& error) {
      findings.disk = error.what();
    }
  };
  const auto put = [&](std::int64_t begin, std::span<const std::byte> bytes) {
    attempt([&] {
      if (!file) file.emplace(path);
      file->write(begin, bytes);
    });
  };
  if (rank() == 0) put(0, std::as_bytes(std::span(plan.layout.head)));
  for (const Block& block : plan.blocks) {
    const torch::Tensor values = values_of(block);
    moved(fmt::format("writing {}, byte {}", path.native(), block.begin));
    if (!values.defined()) continue;
    if (findings.values.empty() && !checkpoint::is_finite(values)) {
      findings.values = fmt::format("tensor '{}' holds values that are not finite (NaN or infinite)", block.name);
    }
    put(block.begin, bytes_of(in_file_order(block, values)));
  }
  std::vector<checkpoint::WrittenRange> ranges;
  attempt([&] {
    if (file) ranges = file->finish();
  });
  return ranges;
}

std::uint32_t BackgroundSave::Shared::checksum_of_weights() {
  std::uint32_t checksum = 0;
  for (const auto& [name, tensor] : model) {
    checksum = crc32c(bytes_of(in_memory_order(tensor.own).cpu()), checksum);
    moved("the weights' checksum");
  }
  return checksum;
}

void BackgroundSave::Shared::finish(checkpoint::UnfinishedSave& unfinished, const std::vector<Findings>& ranks) {
  std::vector<checkpoint::WrittenRange> of_model, of_optimizer;
  for (const Findings& rank : ranks) {
    of_model.insert(of_model.end(), rank.model.begin(), rank.model.end());
    of_optimizer.insert(of_optimizer.end(), rank.optimizer.begin(), rank.optimizer.end());
  }
  const auto end = [&](const char* name, std::vector<checkpoint::WrittenRange> ranges, const SavePlan& plan) {
    moved(fmt::format("flushing {}", (unfinished.aside() / name).native()));
    flush_to_disk(unfinished.aside() / name);
    return checkpoint::digest_of_ranges(std::move(ranges), plan.layout.bytes);
  };
  std::map<std::string, checkpoint::Digest> files;
  files[checkpoint::kModelName] = end(checkpoint::kModelName, std::move(of_model), model_plan);
  files[checkpoint::kOptimizerName] = end(checkpoint::kOptimizerName, std::move(of_optimizer), optimizer_plan);
  moved("finishing the checkpoint");
  unfinished.finish(description, std::move(files), target.keep);
}

// Collective. Runs `action` on rank 0. Returns on every rank why it failed; nothing if it did not.
template <class Action>
std::string BackgroundSave::Shared::failure_on_rank_0(Action action) {
  std::string failure;
  if (rank() == 0) {
    try {
      action();
    } catch (const std::exception& error) {
      failure = error.what();
    }
  }
  return comm::broadcast_text(failure, *target.communicator);
}

// Every rank comes to every agreement, whatever has failed.
SaveOutcome BackgroundSave::Shared::save() {
  const std::int64_t step = description.step;
  model_plan = plan_save(model, target.writers, kBlockBytes);
  optimizer_plan = plan_save(optimizer, target.writers, kBlockBytes);
  const auto failed = [&](const std::string& why) { return SaveOutcome{.failure = checkpoint::save_error(step, why)}; };
  std::optional<checkpoint::UnfinishedSave> unfinished;
  std::string aside;
  const std::string not_begun = failure_on_rank_0([&] {
    unfinished.emplace(target.folder, step);
    aside = unfinished->aside();
    checkpoint::create_file(unfinished->aside() / checkpoint::kModelName, model_plan.layout.bytes);
    checkpoint::create_file(unfinished->aside() / checkpoint::kOptimizerName, optimizer_plan.layout.bytes);
  });
  if (!not_begun.empty()) return failed(not_begun);
  comm::Communicator& others = *target.communicator;
  const fs::path folder = comm::broadcast_text(aside, others);

  Findings own{.host = host_name(), .disk = "", .values = "", .weights = 0, .model = {}, .optimizer = {}};
  own.model = write_part(model_plan, folder / checkpoint::kModelName, own);
  faults::kill_if_wanted("kill-in-save", step, rank());
  own.optimizer = write_part(optimizer_plan, folder / checkpoint::kOptimizerName, own);
  own.weights = checksum_of_weights();
  reach(Stage::Ending);

  moved("the other ranks' writing");
  std::vector<Findings> ranks;
  for (const std::string& text : comm::gather_texts(json_text(json_of(own)), others)) {
    ranks.push_back(parse_findings(json::parse(text)));
  }
  if (std::string wrong = find_wrong_training(ranks, step); !wrong.empty()) {
    return {.failure = std::move(wrong), .fatal = true};
  }
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (!ranks[i].disk.empty()) return failed(fmt::format("rank {}: {}", i, ranks[i].disk));
  }
  if (rank() != 0) moved("rank 0's flush");
  const std::string not_finished = failure_on_rank_0([&] { finish(*unfinished, ranks); });
  return not_finished.empty() ? SaveOutcome() : failed(not_finished);
}

void BackgroundSave::run(Shared& shared) {
  const auto begin = RunningClock::now();
  SaveOutcome outcome;
  std::exception_ptr lost;
  try {
    at::get_num_threads();  // as single_thread.h asks
    use_single_thread();
    const torch::NoGradGuard no_grad;
    const c10::OptionalStreamGuard stream(stream_to_read(shared.model));
    activity::name_thread("saver");
    activity::doing(Phase::Checkpoint, "beginning");
    activity::begin_step(shared.description.step);
    outcome = shared.save();
  } catch (...) {
    lost = std::current_exception();
  }
  outcome.seconds = std::chrono::duration<double>(RunningClock::now() - begin).count();
  // Once it is done the process may end before this thread does, which must not free a GPU's memory then.
  shared.model_plan = shared.optimizer_plan = {};
  shared.model.clear();
  shared.optimizer.clear();
  const std::lock_guard lock(shared.mutex);
  shared.outcome = std::move(outcome);
  shared.lost = lost;
  shared.stage = Shared::Stage::Done;
  shared.changed.notify_all();
}

BackgroundSave::BackgroundSave(Target target, checkpoint::Description description, HeldTensors model,
                               HeldTensors optimizer)
    : shared_(std::make_shared<Shared>()) {
  shared_->target = std::move(target);
  shared_->description = std::move(description);
  shared_->model = std::move(model);
  shared_->optimizer = std::move(optimizer);
  std::thread([shared = shared_] { run(*shared); }).detach();
}

BackgroundSave::~BackgroundSave() {
  if (!shared_->wait_for(Shared::Stage::Done, std::chrono::seconds(10))) left_behind = true;
}

bool BackgroundSave::is_left_behind() {
  return left_behind;
}

void BackgroundSave::wait_until_read() {
  activity::doing(Phase::Checkpoint, "the saver's reading");
  shared_->wait_for(Shared::Stage::Ending, std::chrono::steady_clock::duration::max());
  // Now, or this rank would go on to wait for others whose savers wait for it.
  const std::lock_guard lock(shared_->mutex);
  if (shared_->lost) std::rethrow_exception(shared_->lost);
}

bool BackgroundSave::done() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->stage == Shared::Stage::Done;
}

bool BackgroundSave::broken() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->lost || shared_->outcome.fatal;
}

SaveOutcome BackgroundSave::wait() {
  wait_until_read();
  if (shared_->rank() == 0) {
    activity::doing(Phase::Checkpoint, "the saver's flush");
  } else {
    activity::waiting(activity::Wait::Save, "rank 0's flush");
  }
  shared_->wait_for(Shared::Stage::Done, std::chrono::steady_clock::duration::max());
  const std::lock_guard lock(shared_->mutex);
  if (shared_->lost) std::rethrow_exception(shared_->lost);
  return shared_->outcome;
}

}  // namespace pixelbert::train
