// Writes a checkpoint beside training. Between two updates the state does not change, so a thread on every rank writes
// it from where it is while the next step computes; only the next update waits until everything has been read. Then the
// threads agree on what happened, and rank 0's flushes and renames, beside the steps after.
//
// The ranks of rank 0's host write, each its own part. Ranks of other hosts send them what they hold: then only one
// host needs the file system, and its page cache keeps the bytes of all writers apart.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "comm/communicator.h"
#include "train/save_plan.h"

namespace pixelbert::train {

// How a save ended, the same on every rank.
struct SaveOutcome {
  std::string failure;  // empty if it succeeded
  bool fatal = false;   // the training may not go on: ranks or values are wrong, and not only the disk
  double seconds = 0;   // of this rank, from the beginning
};

class BackgroundSave {
 public:
  struct Target {
    std::filesystem::path folder;  // of checkpoints
    std::int64_t keep = 1;
    std::vector<int> writers;                          // rank 0 and the others of its host
    std::shared_ptr<comm::Communicator> communicator;  // of CPU tensors, for one save at a time and nothing else
  };

  // Every rank begins the same save. Nobody may change the tensors until wait_until_read() has returned. A GPU must
  // have finished them: they are read on another stream, because the training's waits for other ranks.
  BackgroundSave(Target target, checkpoint::Description description, HeldTensors model, HeldTensors optimizer);

  // Waits for the end while there is progress. If an error unwinds here and another rank is lost, that never comes: the
  // thread is then left running until the process ends.
  ~BackgroundSave();
  BackgroundSave(const BackgroundSave&) = delete;
  BackgroundSave& operator=(const BackgroundSave&) = delete;

  void wait_until_read();

  // Whether a thread was left running in this process.
  static bool is_left_behind();

  bool done() const;
  bool broken() const;  // done, and the training may not go on

  // Waits for the end of the save. Throws Error if another rank is lost.
  SaveOutcome wait();

 private:
  struct Shared;
  static void run(Shared& shared);

  std::shared_ptr<Shared> shared_;  // with the thread, which may live longer
};

}  // namespace pixelbert::train
