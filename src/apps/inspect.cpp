// pixelbert inspect PATH: what a shard folder or a checkpoint holds, and whether it is sound.
#include <filesystem>
#include <iostream>

#include "apps/commands.h"
#include "checkpoint/verify.h"
#include "core/check.h"
#include "core/counted.h"
#include "core/inspection.h"
#include "core/log.h"
#include "shards/shard_manifest.h"
#include "shards/verify_shards.h"

namespace pixelbert::apps {
namespace {

// Returns the exit code.
int print(const Inspection& found) {
  std::cout << found.summary << std::flush;
  for (const std::string& problem : found.problems) log::error("{}", problem);
  std::cout << (found.problems.empty() ? "sound: every checksum holds" : counted(std::ssize(found.problems), "problem"))
            << "\n";
  return found.problems.empty() ? 0 : 1;
}

}  // namespace

int inspect(const Arguments& arguments) {
  if (arguments.size() == 1 && arguments[0] == "--help") {
    std::cout
        << "pixelbert inspect PATH\n\nPrints and verifies a shard folder, a checkpoint (a step-... folder, an imported "
           "folder or an exported file)\nor the newest checkpoint of a run folder. Exit code 1 when something is wrong "
           "with it.\n";
    return 0;
  }
  if (arguments.size() != 1)
    throw UsageError("pixelbert inspect: expected one path, of a shard folder or a checkpoint");
  const std::filesystem::path path = arguments[0];
  PB_CHECK(std::filesystem::exists(path), "{} does not exist", path.string());
  if (checkpoint::is_checkpoint(path)) return print(checkpoint::verify(path));
  PB_CHECK(std::filesystem::exists(path / shards::kManifestName),
           "{} cannot be inspected: expected a shard folder with {} (if making it was interrupted, run 'pixelbert "
           "shard' again), a checkpoint, or a run folder that has saved one",
           path.string(), shards::kManifestName);
  return print(shards::verify(path));
}

}  // namespace pixelbert::apps
