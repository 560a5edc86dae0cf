// pixelbert <command> [options]
#include <torch/version.h>

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "comm/mpi_session.h"
#include "config/command_line.h"
#include "config/nearest_name.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/faults.h"
#include "core/log.h"
#include "core/message.h"
#include "core/running_clock.h"
#include "core/stop_signal.h"
#include "jobs/ranks.h"
#include "jobs/version.h"
#include "shards/hdf5_version.h"
#include "train/background_save.h"
#include "watch/start_watch.h"

namespace pixelbert {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

struct Command {
  const char* name;
  const char* help;
  std::variant<int (*)(const apps::Arguments&), int (*)(const apps::Arguments&, const comm::MpiSession&)> run;
  bool long_job = false;  // ends on request with kStoppedOnRequest; continues if nobody reads its output
};

const Command kCommands[] = {
    {"shard", "turn a data set into HDF5 shards: scenes, coco, karpathy, visual-genome, vqa, nlvr2", apps::shard},
    {"pretrain", "train with MLM + ITM, alone or on many ranks under mpirun", apps::pretrain, true},
    {"finetune", "train for VQA, NLVR2 or retrieval from a pre-training checkpoint", apps::finetune, true},
    {"evaluate", "official scores of a checkpoint on a data set", apps::evaluate, true},
    {"predict", "one image: fill [MASK], score the match, or answer as the checkpoint's task does", apps::predict},
    {"visualize", "which pixels each word looks at, as an image or a page", apps::visualize},
    {"import", "make a checkpoint of published weights: a ResNet of torchvision, a BERT of Hugging Face",
     apps::import_weights},
    {"export", "write a checkpoint as one safetensors file", apps::export_weights},
    {"inspect", "print and verify a shard folder or a checkpoint", apps::inspect},
    {"diagnose", "what the ranks of a run were doing when it stopped", apps::diagnose},
    {"plan", "memory, time and disk of a training on given nodes; writes a file for sbatch", apps::plan},
    {"doctor", "check that GPUs, MPI, disks and cores are what a job needs, under mpirun", apps::doctor},
};

std::string help() {
  std::string text = "pixelbert <command> [options]\n\n";
  for (const Command& command : kCommands) text += fmt::format("  {:<16} {}\n", command.name, command.help);
  return text +
         "\n'pixelbert <command> --help' lists the options of a command. 'pixelbert --version' prints what it was "
         "built with.\n";
}

void print_version() {
  std::cout << "pixelbert " << version() << " (" << git_commit() << ")\n"
            << "LibTorch " << TORCH_VERSION << "\n"
            << comm::mpi_version() << "\n"
            << "HDF5 " << shards::hdf5_version() << "\n"
            << "CUDA " << comm::cuda_version() << "\n";
}

// Runs a command of one process. An error becomes one message and an exit code.
int run_alone(const std::function<int()>& command) {
  log::start(0, 1);
  try {
    return command();
  } catch (const UsageError& error) {
    log::error("{}", error.what());
    return kWrongUsage;
  } catch (const std::exception& error) {
    log::error("{}", message_of(error));
    return kFailed;
  }
}

// For errors that all ranks may hit alike: if all arrive here, rank 0 reports once. A rank that failed alone (a file
// missing on its host, for example) reports it itself and aborts the job.
int end_of_all(const comm::MpiSession& session, spdlog::level::level_enum level, const std::string& message, int code) {
  activity::doing(activity::Phase::Other, "the end of the job");
  if (session.all_ranks_come()) {
    if (session.rank() == 0) spdlog::log(level, "{}", message);
    if (!train::BackgroundSave::is_left_behind()) return code;
    // MPI_Finalize would take MPI away from it. Rank 0 reports first.
    if (session.rank() != 0) std::this_thread::sleep_for(std::chrono::seconds(1));
    session.abort(code);
  }
  spdlog::log(level, "on host {}: {}", session.host(), message);
  session.abort(code);
}

// Runs a command of many ranks. The session lives outside the try block: its destructor communicates with the other
// ranks and must not run while an error unwinds.
int run_on_ranks(int (*command)(const apps::Arguments&, const comm::MpiSession&), const apps::Arguments& arguments,
                 int* argc, char*** argv) {
  log::start(0, 1);
  const RunningClock::Ticker ticker;
  watch::StartWatch start(watch::WatchdogConfig().seconds);
  start.set_limit(jobs::early_watchdog(arguments).seconds);
  activity::waiting(activity::Wait::Start, "MPI_Init, which waits for all ranks");
  const comm::MpiSession session(argc, argv);
  log::start(session.rank(), session.world_size());
  // Rank 0 prints for all. Never freed: the buffer is flushed at exit.
  if (session.rank() != 0) std::cout.rdbuf(new std::stringbuf);
  faults::act_out(session.rank());
  activity::waiting(activity::Wait::Start, "the other ranks, which are starting");
  try {
    end_when_stop_signalled();
    return command(arguments, session);
  } catch (const UsageError& error) {
    return end_of_all(session, spdlog::level::err, error.what(), kWrongUsage);
  } catch (const SharedError& error) {
    return end_of_all(session, spdlog::level::err, message_of(error), kFailed);
  } catch (const StopRequested&) {
    return end_of_all(session, spdlog::level::warn, "stopped on request; nothing is saved: run the same command again",
                      kStoppedOnRequest);
  } catch (const std::exception& error) {
    log::error("on host {}: {}", session.host(), message_of(error));
    if (session.world_size() == 1) return kFailed;  // MPI would only add messages about other ranks
    session.abort(kFailed);
  }
}

// Returns whether output was lost because a disk is full. A reader that has gone (head) has read what it wanted.
bool output_is_lost() {
  if (std::cout.flush()) return false;
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  return ::poll(&output, 1, 0) != 1 || (output.revents & POLLERR) == 0;
}

[[noreturn]] void end_at_once(int code) {
  std::cout.flush();
  std::_Exit(code);
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string name = words.empty() ? "" : words[0];
  const apps::Arguments arguments(words.begin() + (words.empty() ? 0 : 1), words.end());

  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    names.emplace_back(command.name);
    if (command.name != name) continue;
    if (command.long_job) {
      catch_stop_signals();
      std::signal(SIGPIPE, SIG_IGN);  // other commands end with it, as usual
    }
    unblock_stop_signals();
    if (const auto* alone = std::get_if<0>(&command.run)) return run_alone([&] { return (*alone)(arguments); });
    return run_on_ranks(std::get<1>(command.run), arguments, &argc, &argv);
  }
  unblock_stop_signals();
  if (name == "--version") {
    print_version();
    return 0;
  }
  if (name == "--help" || name == "help") {
    std::cout << help();
    return 0;
  }
  const std::string near = config::nearest_name(name, names);
  std::cerr << (name.empty() ? "pixelbert: no command given" : "pixelbert: unknown command '" + name + "'")
            << (near.empty() || name.empty() ? "" : "; did you mean '" + near + "'?") << "\n\n"
            << help();
  return kWrongUsage;
}

}  // namespace
}  // namespace pixelbert

int main(int argc, char** argv) {
  pthread_setname_np(pthread_self(), "pixelbert");  // the program's file has a longer name (begin.c)
  try {
    const int code = pixelbert::run(argc, argv);
    // An error may have left work with LibTorch's threads (the rest of a backward): destructors of static objects would
    // take from them what they use.
    if (code == pixelbert::kFailed) pixelbert::end_at_once(code);
    if (code != 0 || !pixelbert::output_is_lost()) return code;
    std::cerr << "pixelbert: cannot write to standard output: the disk is full, or the output is closed\n";
    return pixelbert::kFailed;
  } catch (const std::exception& error) {  // before the log has started
    std::cerr << "pixelbert: " << pixelbert::message_of(error) << "\n";
    return pixelbert::kFailed;
  }
}
