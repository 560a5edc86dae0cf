// trainer.json of a checkpoint whose other files are sound, its checksum included: resuming, and starting with it.
#include <nlohmann/json.hpp>

#include "checkpoint/manifest.h"
#include "core/files.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_run.h"

namespace pixelbert::fuzz {
namespace {

class Run {
 public:
  Run() { checkpointer().save(tiny_state()); }

  void replace_trainer(std::string_view content) {
    const std::filesystem::path step = checkpoints_ / checkpoint::step_name(tiny_state().step);
    checkpoint::Manifest manifest = checkpoint::read_manifest(step);
    manifest.files[checkpoint::kTrainerName] = {std::ssize(content), crc32c(std::as_bytes(std::span(content)))};
    write(std::filesystem::relative(step / checkpoint::kTrainerName, folder()), content);
    write(std::filesystem::relative(step / checkpoint::kManifestName, folder()), checkpoint::format_manifest(manifest));
  }

  void resume() {
    train::State state = tiny_state();
    checkpointer().restore_latest(state);
    if (state.step < 0 || state.samples < 0 || state.at.epoch < 0 || state.at.step < 0) {
      found(fmt::format("resumed at step {}, {} pairs, epoch {}, step {} of it", state.step, state.samples,
                        state.at.epoch, state.at.step));
    }
  }

  void describe() { train::describe_newest(checkpoints_, solo_); }
  void start_with_it() { train::read_model(checkpoints_, solo_); }

  const std::filesystem::path& checkpoints() const { return checkpoints_; }

 private:
  train::Checkpointer checkpointer() { return {checkpoints_, 1, tiny_provenance(), solo_, solo_}; }

  std::filesystem::path checkpoints_ = folder() / "checkpoints";
  comm::SoloCommunicator solo_;
};

void read(std::string_view content) {
  static Run run;
  run.replace_trainer(content);
  const Paths files = {run.checkpoints()};
  accepted(files, [&] { run.resume(); });
  accepted(files, [&] { run.describe(); });
  accepted(files, [&] { run.start_with_it(); });
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pixelbert::fuzz::read(pixelbert::fuzz::text_of({data, size}));
  return 0;
}
