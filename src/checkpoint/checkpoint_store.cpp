#include "checkpoint/checkpoint_store.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "checkpoint/checkpoint_file.h"
#include "checkpoint/manifest.h"
#include "core/check.h"
#include "core/faults.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/log.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLatest = "latest";
constexpr const char* kSaving = ".saving-";      // not whole yet
constexpr const char* kRemoving = ".removing-";  // perhaps not whole any more
constexpr const char* kNewLatest = ".latest";

Digest write_digested(const fs::path& path, const std::string& content) {
  write_file(path, content);
  return digest_of(content);
}

// Writes the files beside the tensors', and the manifest of them all.
void write_texts(const fs::path& aside, const Description& description, std::map<std::string, Digest> files) {
  files[kTrainerName] = write_digested(aside / kTrainerName, json_text(to_json(description), 1) + "\n");
  files[kVocabularyName] = write_digested(aside / kVocabularyName, description.vocabulary);
  faults::kill_if_wanted("kill-before-manifest", description.step, 0);
  write_manifest(aside, {.step = description.step, .files = std::move(files)});
  flush_to_disk(aside);
}

// Renames first, so that a checkpoint under its own name is always whole.
void remove_step(const fs::path& folder, std::int64_t step) {
  const fs::path aside = folder / (kRemoving + step_name(step));
  fs::rename(folder / step_name(step), aside);
  faults::kill_if_wanted("kill-in-removal", step, 0);
  fs::remove_all(aside);
}

// Best effort: on a network file system, a file that is open elsewhere cannot always be removed.
void remove_leftovers(const fs::path& folder) {
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kSaving) || name.starts_with(kRemoving) || name == kNewLatest) leftovers.push_back(entry);
  }
  for (const fs::path& leftover : leftovers) {
    std::error_code error;
    fs::remove_all(leftover, error);
    if (error) log::warn("{} is left behind: {}", leftover.string(), error.message());
  }
}

void remove_old(const fs::path& folder, std::int64_t newest, std::int64_t keep) {
  std::vector<std::int64_t> steps = steps_in(folder);
  std::erase_if(steps, [&](std::int64_t step) { return step > newest; });
  for (std::size_t i = static_cast<std::size_t>(std::max<std::int64_t>(keep, 1)); i < steps.size(); ++i) {
    try {
      remove_step(folder, steps[i]);
    } catch (const fs::filesystem_error& error) {
      log::warn("checkpoint {} is left behind: {}", step_name(steps[i]), error.what());
    }
  }
}

// The link is for users; programs find the newest step without it. So a save also succeeds where links are not
// possible.
void point_latest_at(const fs::path& folder, const std::string& name) {
  static bool warned = false;
  try {
    const fs::file_type found = fs::symlink_status(folder / kLatest).type();
    if (found != fs::file_type::not_found && found != fs::file_type::symlink) {
      // A copy of the run that followed its links made it. It is kept, because somebody may need it.
      const fs::path other = put_aside(folder / kLatest);
      log::warn("{} was not a link and is now {}, which can be removed if a step-... folder holds the same",
                (folder / kLatest).string(), other.string());
    }
    fs::create_symlink(name, folder / kNewLatest);
    rename_durably(folder / kNewLatest, folder / kLatest);
  } catch (const std::exception& error) {
    if (!std::exchange(warned, true)) {
      log::warn("{} does not lead to {}; training continues without the link: {}", (folder / kLatest).string(), name,
                error.what());
    }
  }
}

fs::path checked(const fs::path& folder, const char* name, const Manifest& manifest) {
  check_file(folder, name, manifest);
  return folder / name;
}

NamedTensors read_tensors(const fs::path& folder, const char* name, const Manifest& manifest) {
  const fs::path path = checked(folder, name, manifest);
  NamedTensors tensors = read_safetensors(path);
  check_finite(tensors, path.string());
  return tensors;
}

// Reads a step folder: a Description, Weights or the whole Checkpoint.
template <class Saved>
Saved load_folder(const fs::path& folder) {
  const Manifest manifest = read_manifest(folder);
  Saved saved;
  const fs::path trainer = checked(folder, kTrainerName, manifest);
  static_cast<Description&>(saved) = parse_description(
      read_file(trainer, kMaxTextBytes), read_file(checked(folder, kVocabularyName, manifest), kMaxTextBytes),
      manifest.step, trainer.string());
  if constexpr (std::is_base_of_v<Weights, Saved>) saved.model = read_tensors(folder, kModelName, manifest);
  if constexpr (std::is_same_v<Checkpoint, Saved>) {
    PB_CHECK(manifest.files.contains(kOptimizerName),
             "{} has weights but no {}: training cannot resume from it, only start from it", folder.string(),
             kOptimizerName);
    saved.optimizer = read_tensors(folder, kOptimizerName, manifest);
  }
  return saved;
}

// Returns whether a running training has removed the folder. Throws Error if it exists but cannot be reached.
bool is_gone(const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  if (error == std::errc::no_such_file_or_directory) {
    std::error_code ignored;
    PB_CHECK(!fs::is_symlink(folder, ignored), "{} is a link to {}, which is not there: is its disk mounted?",
             folder.string(), fs::read_symlink(folder, ignored).string());
    return true;
  }
  PB_CHECK(!error || error == std::errc::not_a_directory, "cannot list {}: {}", folder.string(), error.message());
  return false;
}

// Returns the newest whole checkpoint, as far as it is read. If one is removed meanwhile, there is a newer one.
template <class Saved>
std::optional<Saved> find_newest(const fs::path& folder) {
  std::set<std::int64_t> damaged;
  for (;;) {
    std::vector<std::int64_t> steps = steps_in(folder);
    std::erase_if(steps, [&](std::int64_t step) { return damaged.contains(step); });
    if (steps.empty()) break;
    const fs::path candidate = folder / step_name(steps[0]);
    try {
      return load_folder<Saved>(candidate);
    } catch (const Error& error) {
      if (is_gone(candidate)) continue;
      log::warn("checkpoint {} is damaged and skipped: {}", candidate.string(), error.what());
      damaged.insert(steps[0]);
    }
  }
  PB_CHECK(damaged.empty(), "all {} checkpoints in {} are damaged: put a sound copy there, or start another --run.dir",
           damaged.size(), folder.string());
  return std::nullopt;
}

// Each save moves `latest`. All files are read from the checkpoint that it leads to now or, if that is removed, from
// the next.
template <class Saved>
Saved load_link(const fs::path& path) {
  const fs::path link = path.has_filename() ? path : path.parent_path();  // "latest/"
  for (;;) {
    const fs::path folder = fs::is_symlink(link) ? fs::canonical(link) : path;
    try {
      return load_folder<Saved>(folder);
    } catch (const Error&) {
      if (!is_gone(folder) || !fs::exists(path)) throw;
    }
  }
}

// `latest` without a step folder shows that there were checkpoints.
void check_never_saved(const fs::path& folder) {
  PB_CHECK(!fs::exists(fs::symlink_status(folder / kLatest)),
           "{} shows that checkpoints were saved, but there is no step-... folder beside it: restore them (a folder "
           "'latest' that holds one may be renamed to step-000001000, or to the step in its manifest.json), or start "
           "another --run.dir",
           (folder / kLatest).string());
}

// Distinguishes a checkpoint from a folder of checkpoints.
bool has_manifest(const fs::path& path) {
  std::error_code ignored;  // steps_in() will report why the folder cannot be listed
  return fs::exists(path / kManifestName, ignored);
}

template <class Saved>
std::optional<Saved> read(const fs::path& path) {
  if (has_manifest(path) || path.filename().string().starts_with("step-")) return load_link<Saved>(path);
  std::optional<Saved> found = find_newest<Saved>(path);
  if (!found) check_never_saved(path);
  return found;
}

}  // namespace

std::string save_error(std::int64_t step, const std::string& reason) {
  return fmt::format("cannot save the checkpoint of step {}: {}; older checkpoints are untouched", step, reason);
}

UnfinishedSave::UnfinishedSave(fs::path folder, std::int64_t step)
    : folder_(std::move(folder)), aside_(folder_ / (kSaving + step_name(step))), step_(step) {
  fs::create_directories(folder_);
  remove_leftovers(folder_);
  fs::remove_all(aside_);
  fs::create_directory(aside_);
}

UnfinishedSave::~UnfinishedSave() {
  std::error_code ignored;
  fs::remove_all(aside_, ignored);
}

fs::path UnfinishedSave::finish(const Description& description, std::map<std::string, Digest> files,
                                std::int64_t keep) {
  write_texts(aside_, description, std::move(files));
  faults::kill_if_wanted("kill-before-rename", step_, 0);
  const fs::path final = folder_ / step_name(step_);
  if (fs::exists(final)) remove_step(folder_, step_);  // a damaged one, which a resumed run has reached again
  rename_durably(aside_, final);
  faults::kill_if_wanted("kill-before-latest", step_, 0);
  point_latest_at(folder_, final.filename().string());
  try {
    remove_old(folder_, step_, keep);
  } catch (const std::exception& error) {  // the new one is saved
    log::warn("old checkpoints are left behind: {}", error.what());
  }
  faults::kill_if_wanted("kill-after-save", step_, 0);
  return final;
}

void save_weights(const fs::path& folder, const Weights& weights) {
  fs::path final = fs::absolute(folder).lexically_normal();
  if (!final.has_filename()) final = final.parent_path();  // "out/"
  const fs::path aside = final.parent_path() / (kSaving + final.filename().string());
  try {
    fs::create_directories(aside.parent_path());
    fs::remove_all(aside);
    fs::create_directory(aside);
    write_texts(aside, weights, {{kModelName, write_safetensors(aside / kModelName, weights.model, kTensorMetadata)}});
    rename_durably(aside, final);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(aside, ignored);
    fail(fmt::format("cannot save weights in {}: {}", folder.string(), error.what()));
  }
}

std::optional<Description> describe(const fs::path& path) {
  return read<Description>(path);
}

std::optional<Checkpoint> load(const fs::path& path) {
  return read<Checkpoint>(path);
}

Weights load_weights(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return read_checkpoint_file(path);
  if (has_manifest(path)) return load_link<Weights>(path);
  for (const fs::path& folder : {path / kCheckpointsName, path}) {
    if (std::optional<Weights> found = find_newest<Weights>(folder)) return *std::move(found);
    if (has_manifest(folder / kLatest)) return load_link<Weights>(folder / kLatest);
  }
  fail(fmt::format(
      "no checkpoint at {}: expected a step-... folder with a {}, a run folder with checkpoints/step-..., or an "
      "exported .safetensors file",
      path.string(), kManifestName));
}

}  // namespace pixelbert::checkpoint
