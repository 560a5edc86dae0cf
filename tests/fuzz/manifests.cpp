// manifest.json of a shard folder ("shards" in an input's first line) and of a checkpoint ("checkpoint").
#include <algorithm>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "checkpoint/verify.h"
#include "shards/shard_manifest.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/fuzz/fuzz.h"

namespace pixelbert::fuzz {
namespace {

void check_report(const Inspection& report, const std::filesystem::path& folder) {
  for (const std::string& problem : report.problems) check_message(problem, {folder});
}

// The files themselves are not there.
void read_shards(std::string_view manifest) {
  const std::filesystem::path folder = write("shards/manifest.json", manifest).parent_path();
  accepted({folder}, [&] {
    const shards::ShardSet shards(folder);
    if (shards.images() < 0 || shards.texts() < 0) {
      found(fmt::format("a set of {} images and {} texts", shards.images(), shards.texts()));
    }
    shards::write_manifest_file(folder / "again.json", shards.manifest());
    if (shards::read_manifest_file(folder / "again.json").identity() != shards.manifest().identity()) {
      found("a manifest that is not the same when it is written and read");
    }
    if (shards.images() > 0) shards.image_id(shards.images() - 1);
  });
  accepted({folder}, [&] { check_report(shards::verify(folder), folder); });
}

void read_checkpoint(std::string_view manifest) {
  const std::filesystem::path folder = write("step-000000001/manifest.json", manifest).parent_path();
  accepted({folder}, [&] {
    const checkpoint::Manifest known = checkpoint::read_manifest(folder);
    if (known.step < 0) found(fmt::format("a checkpoint of step {}", known.step));
  });
  accepted({folder}, [&] { checkpoint::load(folder); });
  accepted({folder}, [&] { check_report(checkpoint::verify(folder), folder); });
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = pixelbert::fuzz::text_of({data, size});
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::string_view kind = input.substr(0, end), manifest = input.substr(std::min(end + 1, size));
  if (kind == "shards") pixelbert::fuzz::read_shards(manifest);
  if (kind == "checkpoint") pixelbert::fuzz::read_checkpoint(manifest);
  return 0;
}
