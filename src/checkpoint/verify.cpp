#include "checkpoint/verify.h"

#include "checkpoint/manifest.h"
#include "core/check.h"

namespace pixelbert::checkpoint {
namespace {

// The newest step folder at `path`, or nothing.
std::filesystem::path step_folder_at(const std::filesystem::path& path) {
  if (path.filename().string().starts_with("step-") || path.filename() == "latest") return path;
  for (const std::filesystem::path& folder : {path / "checkpoints", path}) {
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

}  // namespace

bool is_checkpoint(const std::filesystem::path& path) {
  return !step_folder_at(path).empty();
}

Report verify(const std::filesystem::path& path) {
  const std::filesystem::path folder = step_folder_at(path);
  PB_CHECK(!folder.empty(),
           "no checkpoint at {}: expected a step-... folder, or a run folder with checkpoints/step-...", path.string());
  const Manifest manifest = read_manifest(folder);
  Report report{
      fmt::format("checkpoint    {}\nstep          {}, format {}\n", folder.string(), manifest.step, kFormatVersion),
      {}};
  for (const auto& [name, digest] : manifest.files) {
    try {
      check_file(folder, name, manifest);
      report.summary += fmt::format("file          {}, {} bytes{}\n", name, digest.bytes,
                                    name.ends_with(".safetensors") ? tensors_in(folder / name) : "");
    } catch (const Error& error) {
      report.problems.push_back(error.what());
    }
  }
  return report;
}

}  // namespace pixelbert::checkpoint
