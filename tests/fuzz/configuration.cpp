// A configuration file. The output of --print-config must give the same configuration again.
#include <map>

#include "config/command_line.h"
#include "jobs/training_config.h"
#include "tasks/pretrain.h"
#include "tests/fuzz/fuzz.h"

namespace pixelbert::fuzz {
namespace {

struct Resolved {
  std::map<std::string, std::string> values;
  std::string ini;
};

Resolved parse(const std::filesystem::path& path) {
  jobs::TrainingConfig config;
  jobs::PretrainOptions pretrain;
  tasks::PretrainConfig task;
  config::CommandLine line("pretrain", "fuzz");
  line.add(config);
  line.add(pretrain);
  line.add(task);
  line.parse({"--config", path});
  return {line.values(), line.ini()};
}

// Every problem is a line of its own; an option that cannot be printed is named.
void check_refusal(std::string_view message, const std::filesystem::path& path) {
  check_lines(message, {path, "--"});
}

void read(std::string_view content) {
  const std::filesystem::path path = write("config.ini", content);
  Resolved first;
  try {
    first = parse(path);
  } catch (const Error& error) {
    return check_refusal(error.what(), path);
  }
  const std::filesystem::path printed = write("printed.ini", first.ini);
  try {
    const Resolved second = parse(printed);
    if (second.values != first.values || second.ini != first.ini) {
      found(fmt::format("another configuration when it is fed back:\n{}\nwas\n{}", second.ini, first.ini));
    }
  } catch (const Error& error) {
    found(fmt::format("what --print-config prints is refused: {}\n{}", error.what(), first.ini));
  }
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pixelbert::fuzz::read(pixelbert::fuzz::text_of({data, size}));
  return 0;
}
