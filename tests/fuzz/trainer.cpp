// trainer.json of a checkpoint whose other files and checksum are correct: resumes from it and starts from it.
#include <nlohmann/json.hpp>

#include "checkpoint/manifest.h"
#include "core/files.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_run.h"
#include "tests/support/save.h"
#include "train/replicas.h"

namespace pixelbert::fuzz {
namespace {

class Run {
 public:
  Run() {
    checkpoint::Checkpoint saved = tiny_run();
    test::save(checkpoints_, saved, 1);
  }

  void replace_trainer(std::string_view content) {
    const std::filesystem::path step = checkpoints_ / checkpoint::step_name(tiny_run().step);
    checkpoint::Manifest manifest = checkpoint::read_manifest(step);
    manifest.files[checkpoint::kTrainerName] = {std::ssize(content), crc32c(std::as_bytes(std::span(content)))};
    write(std::filesystem::relative(step / checkpoint::kTrainerName, folder()), content);
    write(std::filesystem::relative(step / checkpoint::kManifestName, folder()), checkpoint::format_manifest(manifest));
  }

  void resume() {
    checkpoint::Checkpoint run = tiny_run();
    checkpointer().restore_latest(run);
    if (run.step < 0 || run.samples < 0 || run.epoch < 0 || run.step_in_epoch < 0) {
      found(fmt::format("resumed at step {}, {} pairs, epoch {}, step {} of it", run.step, run.samples, run.epoch,
                        run.step_in_epoch));
    }
  }

  void describe() { train::read_on_rank_0<checkpoint::Description>(checkpoints_, solo_, checkpoint::describe); }
  void start_with_it() { train::read_on_rank_0<checkpoint::Weights>(checkpoints_, solo_, checkpoint::load_weights); }

  const std::filesystem::path& checkpoints() const { return checkpoints_; }

 private:
  train::Checkpointer checkpointer() {
    return {{.folder = checkpoints_, .writers = {0}, .communicator = nullptr}, {.keep = 1}, {}, solo_, solo_};
  }

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
