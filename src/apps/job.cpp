#include "apps/job.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "comm/make_communicator.h"
#include "comm/texts.h"
#include "config/command_line.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/cores.h"
#include "core/files.h"
#include "core/message.h"
#include "core/text_lines.h"

namespace pixelbert::apps {

Ranks::Ranks(const config::ComputeConfig& config, const comm::MpiSession& session,
             std::unique_ptr<comm::Communicator> control)
    : device_(comm::choose_device(config.device, session)), control_(std::move(control)) {
  at::set_num_threads(config.threads > 0 ? static_cast<int>(config.threads) : compute_threads(session.local_size()));
  if (device_.is_cuda()) device_communicator_ = comm::make_device_communicator(device_, session, *control_);
}

watch::WatchdogConfig early_watchdog(const Arguments& arguments) {
  watch::WatchdogConfig config;
  const std::string text = config::early_value(arguments, "watchdog.seconds");
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size() && seconds >= 0) config.seconds = seconds;
  return config;  // of anything else parsing will say what is wrong with it
}

int watched(const Arguments& arguments, const comm::MpiSession& session, comm::Communicator& control,
            const std::function<int(watch::Watchdog&)>& job) {
  watch::Watchdog watchdog(early_watchdog(arguments), {session.rank(), session.world_size(), session.host()},
                           [&](const std::string& text) { return comm::broadcast_text(text, control); });
  activity::doing("start", "reading the options");
  try {
    return job(watchdog);
  } catch (const UsageError&) {
    throw;  // of all ranks alike, or main() ends the job
  } catch (const std::exception& error) {
    watchdog.failed(message_of(error));
    throw;
  }
}

void check_output(const char* option, const std::string& path) {
  if (path.empty()) return;
  try {
    check_can_write(path);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--{}: {}", option, error.what()));
  }
}

void check_on_rank_0(comm::Communicator& control, const std::function<void()>& check) {
  std::string problem;
  if (control.rank() == 0) {
    try {
      check();
    } catch (const UsageError& error) {
      problem = error.what();
    }
  }
  problem = comm::broadcast_text(problem, control);
  if (!problem.empty()) throw UsageError(problem);
}

DataSets open_data(const Strings& folders) {
  if (folders.empty()) {
    throw UsageError("--data.shards is missing: name a folder made by 'pixelbert shard' (repeatable)");
  }
  DataSets data;
  for (const std::string& folder : folders) {
    activity::doing("start", fmt::format("opening {}", folder));
    data.push_back(std::make_shared<const shards::ShardSet>(folder));
  }
  return data;
}

Strings data_identity(const DataSets& data) {
  Strings lines;
  for (const auto& set : data) {
    const shards::Manifest& manifest = set->manifest();
    std::string line =
        fmt::format("{} {:08x} {} images {} texts", manifest.source, manifest.identity(), set->images(), set->texts());
    if (const auto exclude = manifest.options.find("vg.exclude"); exclude != manifest.options.end()) {
      line += fmt::format(" vg.exclude={}", exclude->second);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

void check_data_for(data::Task task, const DataSets& data) {
  const bool needs_own = task == data::Task::Vqa || task == data::Task::Nlvr2;
  const std::string expected(needs_own ? name_of(task) : "pairs");
  for (const auto& set : data) {
    if (set->manifest().task == expected) continue;
    throw UsageError(
        fmt::format("--data.shards {} holds {} shards, {} needs {} ones: 'pixelbert shard {}' makes them, or "
                    "'pixelbert shard scenes --task {}'",
                    set->folder().string(), set->manifest().task, name_of(task), expected,
                    needs_own ? expected : "coco", expected));
  }
}

Strings read_answers(const DataSets& data) {
  Strings answers;
  for (const auto& set : data) {
    const std::filesystem::path path = set->folder() / shards::kAnswersName;
    const Strings own = std::filesystem::exists(path) ? lines_of(read_file(path)) : Strings();
    if (own.empty()) throw UsageError(fmt::format("{}: expected one answer a line, found none", path.string()));
    if (!answers.empty() && own != answers) {
      throw UsageError(fmt::format("{} has other answers than {}: make both with the same --answers file",
                                   path.string(), (data[0]->folder() / shards::kAnswersName).string()));
    }
    answers = own;
  }
  return answers;
}

data::SampleStream make_stream(const DataSets& data, const data::StreamConfig& config) {
  std::vector<data::Block> blocks;
  for (std::size_t i = 0; i < data.size(); ++i) {
    data::Block block{.data_set = static_cast<std::int32_t>(i)};
    for (const shards::ShardFile& file : data[i]->manifest().files) {
      std::int64_t images_left = file.images;
      for (const std::int64_t texts : file.block_texts) {
        block.images = std::min(images_left, shards::kImagesPerBlock);
        block.texts = texts;
        blocks.push_back(block);
        block.first_image += block.images;
        block.first_text += block.texts;
        images_left -= block.images;
      }
    }
  }
  const auto text_counts = [&data](const data::Block& block) {
    return data[static_cast<std::size_t>(block.data_set)]->text_counts(block.first_image,
                                                                       block.first_image + block.images);
  };
  return {std::move(blocks), text_counts, config};
}

text::WordPiece make_tokenizer(const std::string& vocab_file, const DataSets& data) {
  if (!vocab_file.empty()) return text::WordPiece(text::Vocabulary::read(vocab_file));
  for (const auto& set : data) {
    if (!std::filesystem::exists(set->vocabulary())) continue;
    shards::check_other_file(set->folder(), set->manifest(), set->vocabulary().filename());
    return text::WordPiece(text::Vocabulary::read(set->vocabulary()));
  }
  throw UsageError(
      fmt::format("--text.vocab is missing: {} brings no vocabulary of its own", data[0]->folder().string()));
}

std::string vocabulary_text(const text::Vocabulary& vocabulary) {
  std::string text;
  for (std::int64_t id = 0; id < vocabulary.size(); ++id) text += vocabulary.token(id) + "\n";
  return text;
}

}  // namespace pixelbert::apps
