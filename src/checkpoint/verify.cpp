#include "checkpoint/verify.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_file.h"
#include "checkpoint/manifest.h"
#include "core/check.h"
#include "core/files.h"

namespace pixelbert::checkpoint {
namespace {

// Returns the checkpoint's folder at `path`, the newest of several, or nothing. Shard folders have a manifest.json too.
std::filesystem::path folder_at(const std::filesystem::path& path) {
  if (path.filename().string().starts_with("step-") || path.filename() == "latest") return path;
  if (!std::filesystem::is_directory(path)) return {};
  for (const char* name : {kModelName, kTrainerName}) {
    if (std::filesystem::exists(path / name)) return path;
  }
  for (const std::filesystem::path& folder : {path / kCheckpointsName, path}) {
    if (const auto steps = steps_in(folder); !steps.empty()) return folder / step_name(steps[0]);
  }
  return {};
}

std::int64_t elements(const TensorInfo& tensor) {
  std::int64_t count = 1;
  for (const std::int64_t size : tensor.shape) count *= size;
  return count;
}

std::string tensors_in(const std::filesystem::path& path) {
  std::int64_t tensors = 0, values = 0;
  for (const TensorInfo& tensor : list_safetensors(path)) {
    ++tensors;
    values += elements(tensor);
  }
  return fmt::format(", {} tensors of {} values", tensors, values);
}

bool is_exported(const std::filesystem::path& path) {
  return path.extension() == ".safetensors" && std::filesystem::is_regular_file(path);
}

Inspection verify_file(const std::filesystem::path& path) {
  Inspection report{fmt::format("checkpoint    {}\n", path.string()), {}};
  try {
    const Weights checkpoint = read_checkpoint_file(path);
    report.summary += fmt::format("step          {}, format {}, exported\nfile          {} bytes{}\n", checkpoint.step,
                                  kFormatVersion, std::filesystem::file_size(path), tensors_in(path));
  } catch (const Error& error) {
    report.problems.push_back(error.what());
  }
  return report;
}

Inspection verify_folder(const std::filesystem::path& folder) {
  const Manifest manifest = read_manifest(folder);
  Inspection report{
      fmt::format("checkpoint    {}\nstep          {}, format {}\n", folder.string(), manifest.step, kFormatVersion),
      {}};
  for (const auto& [name, digest] : manifest.files) {
    try {
      check_file(folder, name, manifest);
      if (name == kTrainerName) {
        parse_description(read_file(folder / name, kMaxTextBytes), "", manifest.step, (folder / name).string());
      }
      const bool has_tensors = name.ends_with(".safetensors");
      report.summary += fmt::format("file          {}, {} bytes{}\n", name, digest.bytes,
                                    has_tensors ? tensors_in(folder / name) : "");
      if (has_tensors) check_finite(read_safetensors(folder / name), (folder / name).string());
    } catch (const Error& error) {
      report.problems.push_back(error.what());
    }
  }
  return report;
}

}  // namespace

bool is_checkpoint(const std::filesystem::path& path) {
  return is_exported(path) || !folder_at(path).empty();
}

Inspection verify(const std::filesystem::path& path) {
  if (is_exported(path)) return verify_file(path);
  for (;;) {
    std::filesystem::path folder = folder_at(path);
    PB_CHECK(!folder.empty(),
             "no checkpoint at {}: expected a step-... folder, a run folder with checkpoints/step-..., or an exported "
             ".safetensors file",
             path.string());
    std::error_code leads_nowhere;  // reading it will report it
    const std::filesystem::path target = std::filesystem::canonical(folder, leads_nowhere);
    if (!leads_nowhere && std::filesystem::is_symlink(folder)) folder = target;
    // A running training may have removed it meanwhile, and then has a newer one.
    const auto removed = [&] {  // a link to nowhere is still there
      std::error_code ignored;
      return !std::filesystem::exists(std::filesystem::symlink_status(folder, ignored)) &&
             std::filesystem::exists(path, ignored);
    };
    try {
      Inspection report = verify_folder(folder);
      if (report.problems.empty() || !removed()) return report;
    } catch (const Error&) {
      if (!removed()) throw;
    }
  }
}

}  // namespace pixelbert::checkpoint
