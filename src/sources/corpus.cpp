#include "sources/corpus.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <exception>
#include <optional>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/log.h"
#include "images/codec.h"
#include "shards/shard_folder_writer.h"

namespace pixelbert::sources {
namespace {

constexpr std::int64_t kRecordsPerThread = 32;  // made together, then written in order

shards::Part parse_part(const std::string& text) {
  if (text.empty()) return {};
  shards::Part part;
  const char* end = text.data() + text.size();
  const auto number = std::from_chars(text.data(), end, part.number);
  const bool slash = number.ec == std::errc() && number.ptr != end && *number.ptr == '/';
  const auto count = slash ? std::from_chars(number.ptr + 1, end, part.count) : number;
  if (!slash || count.ec != std::errc() || count.ptr != end || part.number < 1 || part.number > part.count) {
    throw UsageError(fmt::format("--part: expected i/n with 1 <= i <= n, found '{}'", text));
  }
  return part;
}

struct Made {
  shards::Record record;
  std::exception_ptr error;
};

// Makes the records [first, last) in `threads` threads.
std::vector<Made> make_records(const Corpus& corpus, std::int64_t first, std::int64_t last, unsigned threads) {
  std::vector<Made> made(static_cast<std::size_t>(last - first));
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i; (i = next++) < made.size();) {
      try {
        made[i].record = corpus.record(first + static_cast<std::int64_t>(i));
      } catch (...) {
        made[i].error = std::current_exception();
      }
    }
  };
  std::vector<std::jthread> workers;
  for (unsigned i = 0; i < threads; ++i) workers.emplace_back(work);
  workers.clear();
  return made;
}

std::string listed(const std::map<std::string, std::int64_t>& counts) {
  std::vector<std::string> parts;
  for (const auto& [reason, count] : counts) parts.push_back(fmt::format("{} {}", count, reason));
  return parts.empty() ? "nothing" : fmt::to_string(fmt::join(parts, ", "));
}

}  // namespace

void check(const ShardOptions& options) {
  if (options.out.empty()) throw UsageError("--out is missing: the folder to fill with shards");
  if (options.max_bad < 0) throw UsageError(fmt::format("--max-bad: expected 0 or more, found {}", options.max_bad));
  constexpr std::int64_t kMostMib = 1 << 20;
  if (options.shard_mib < 1 || options.shard_mib > kMostMib) {
    throw UsageError(fmt::format("--shard-mib: expected 1 to {}, found {}", kMostMib, options.shard_mib));
  }
  static_cast<void>(parse_part(options.part));
  shards::check_not_finished(options.out);
}

void write_corpus(const ShardOptions& options, const Corpus& corpus) {
  check(options);
  const shards::Part part = parse_part(options.part);
  PB_CHECK(corpus.records > 0, "there is nothing to shard: no image has a text; left out: {}",
           listed(corpus.header.skipped));

  shards::Manifest header = corpus.header;
  if (part.number > 1) {  // every part reads all annotations; what they left out counts once
    header.skipped.clear();
    header.repaired.clear();
  }
  shards::ShardFolderWriter writer({options.out, options.shard_mib, part, corpus.records}, std::move(header));
  if (part.number == 1) {  // parts run side by side; one of them writes the files they share
    for (const auto& [name, content] : corpus.files) writer.write_other_file(name, content);
  }

  const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  const std::int64_t begin = corpus.records * (part.number - 1) / part.count;
  const std::int64_t end = corpus.records * part.number / part.count;
  std::int64_t bad = 0;
  for (std::int64_t first = begin; first < end;) {
    const std::int64_t last = std::min(end, first + kRecordsPerThread * threads);
    for (Made& made : make_records(corpus, first, last, threads)) {
      if (!made.error) {
        writer.append(std::move(made.record));
        continue;
      }
      try {
        std::rethrow_exception(made.error);
      } catch (const images::BadImage& error) {
        log::warn("left out, {}: {}", error.reason, error.what());
        writer.count_skipped(error.reason);
        PB_CHECK(++bad <= options.max_bad, "{} images are bad, --max-bad allows {}; the last: {}", bad, options.max_bad,
                 error.what());
      }
    }
    first = last;
  }
  PB_CHECK(part.count > 1 || bad < end - begin, "none of the {} images could be used", end - begin);

  if (const std::optional<shards::Manifest> whole = writer.finish()) {
    log::info("{}: {} images, {} texts in {} files; left out: {}", options.out, whole->images(), whole->texts(),
              whole->files.size(), listed(whole->skipped));
  } else {
    log::info("{}: part {} of {} is done; the last part writes the manifest", options.out, part.number, part.count);
  }
}

}  // namespace pixelbert::sources
