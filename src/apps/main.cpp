// pixelbert <command> [options]
#include <malloc.h>
#include <torch/version.h>

#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "comm/mpi_session.h"
#include "config/command_line.h"
#include "core/check.h"
#include "core/log.h"
#include "core/stop_signal.h"
#include "core/version.h"
#include "shards/hdf5_version.h"

namespace pixelbert {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

constexpr const char* kHelp = R"(pixelbert <command> [options]

  shard <source>   turn a data set into HDF5 shards: scenes, coco, karpathy, visual-genome, vqa, nlvr2
  pretrain         train with MLM + ITM, alone or on many ranks under mpirun
  finetune         train for VQA, NLVR2 or retrieval from a pre-training checkpoint
  evaluate         official figures of a checkpoint on a data set
  predict          one picture: fill [MASK], score the match, or answer as the checkpoint's task does
  visualize        which pixels each word looks at, as a picture or a page
  import           make a checkpoint of published weights: a ResNet of torchvision, a BERT of Hugging Face
  export           write a checkpoint as one safetensors file
  inspect          print and verify a shard folder or a checkpoint
  diagnose         what the ranks of a run did when it came to a halt
  plan             what a training needs and takes at a given size, and a file for sbatch
  doctor           whether GPUs, MPI, disks and cores are what a job needs, under mpirun

'pixelbert <command> --help' lists the options of a command. 'pixelbert --version' tells what it was built with.
)";

void print_version() {
  std::cout << "pixelbert " << version() << " (" << git_commit() << ")\n"
            << "LibTorch " << TORCH_VERSION << "\n"
            << comm::mpi_version() << "\n"
            << "HDF5 " << shards::hdf5_version() << "\n"
            << "CUDA " << comm::cuda_version() << "\n";
}

// For commands of one process. Errors end in one message and an exit code.
int run_alone(const std::function<int()>& command) {
  log::start(0, 1);
  try {
    return command();
  } catch (const UsageError& error) {
    log::error("{}", error.what());
    return kWrongUsage;
  } catch (const std::exception& error) {
    log::error("{}", error.what());
    return kFailed;
  }
}

// For commands of many ranks. The session lives outside the try: its destructor talks to the other ranks and must not
// run while an error unwinds.
int run_on_ranks(const std::function<int(const comm::MpiSession&)>& command, int* argc, char*** argv) {
  const comm::MpiSession session(argc, argv);
  log::start(session.rank(), session.world_size());
  try {
    return command(session);
  } catch (const UsageError& error) {
    // Every rank read the same command line and is here too.
    if (session.rank() == 0) log::error("{}", error.what());
    return kWrongUsage;
  } catch (const StopRequested&) {
    // Every rank gets the signal, at another moment: nobody waits for the others.
    log::warn("stopped on request; nothing is saved: run the same command again");
    session.abort(kStoppedOnRequest);
  } catch (const std::exception& error) {
    log::error("on host {}: {}", session.host(), error.what());
    session.abort(kFailed);
  }
}

// A step takes and gives back gigabytes of activations. By default malloc would return large blocks to the kernel at
// once and fault them in again: a tenth of the time of a small model's step.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

int run(int argc, char** argv) {
  keep_freed_memory();
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string command = words.empty() ? "" : words[0];
  const apps::Arguments arguments(words.begin() + (words.empty() ? 0 : 1), words.end());

  const std::map<std::string, int (*)(const apps::Arguments&, const comm::MpiSession&)> on_ranks = {
      {"pretrain", apps::pretrain}, {"finetune", apps::finetune},   {"evaluate", apps::evaluate},
      {"predict", apps::predict},   {"visualize", apps::visualize}, {"doctor", apps::doctor}};
  if (const auto found = on_ranks.find(command); found != on_ranks.end()) {
    return run_on_ranks([&](const comm::MpiSession& session) { return found->second(arguments, session); }, &argc,
                        &argv);
  }
  const std::map<std::string, int (*)(const apps::Arguments&)> alone = {
      {"shard", apps::shard},     {"import", apps::import_weights}, {"export", apps::export_weights},
      {"inspect", apps::inspect}, {"diagnose", apps::diagnose},

      {"plan", apps::plan}};
  if (const auto found = alone.find(command); found != alone.end()) {
    return run_alone([&] { return found->second(arguments); });
  }
  if (command == "--version") {
    print_version();
    return 0;
  }
  if (command == "--help" || command == "help") {
    std::cout << kHelp;
    return 0;
  }
  const std::string near =
      config::nearest_name(command, {"shard", "pretrain", "finetune", "evaluate", "predict", "visualize", "import",
                                     "export", "inspect", "diagnose", "plan", "doctor"});
  std::cerr << (command.empty() ? "pixelbert: no command given" : "pixelbert: unknown command '" + command + "'")
            << (near.empty() || command.empty() ? "" : "; did you mean '" + near + "'?") << "\n\n"
            << kHelp;
  return kWrongUsage;
}

}  // namespace
}  // namespace pixelbert

int main(int argc, char** argv) {
  return pixelbert::run(argc, argv);
}
