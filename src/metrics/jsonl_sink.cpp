#include "metrics/jsonl_sink.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <ranges>
#include <string_view>
#include <vector>

#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/log.h"

namespace pixelbert::metrics {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kLongestLine = std::size_t{1} << 20;  // a step's line has a few hundred bytes

// The place of a line in the file, with its end.
struct Line {
  std::uintmax_t begin = 0;
  std::uintmax_t end = 0;
  std::int64_t number = 0;  // from 1
  std::int64_t step = 0;    // 0: not the line of a step
};

std::int64_t step_of(std::string_view text) {
  const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!line.is_object()) return 0;
  const auto step = line.find("step");
  if (step == line.end() || !step->is_number_integer()) return 0;
  if (step->is_number_unsigned() && step->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) return 0;
  return std::max<std::int64_t>(step->get<std::int64_t>(), 0);
}

std::vector<Line> read_lines(std::ifstream& in, const std::filesystem::path& path) {
  std::vector<Line> lines;
  std::vector<char> text(kLongestLine);
  Line line;
  while (in.getline(text.data(), static_cast<std::streamsize>(text.size())) || in.gcount() > 0) {
    const auto size = static_cast<std::size_t>(in.gcount());
    line = {.begin = line.end, .end = line.end + size, .number = line.number + 1, .step = 0};
    if (in.eof()) {
      // Without an end it may be half a line.
    } else if (in.fail()) {  // too long for the line of a step
      in.clear();
      in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
      line.end += static_cast<std::uintmax_t>(in.gcount());
    } else {
      line.step = step_of({text.data(), size - 1});
    }
    lines.push_back(line);
    activity::moved();
  }
  PB_CHECK(!in.bad(), "cannot read {}: {}", path.string(), std::strerror(errno));
  in.clear();
  return lines;
}

// Writes these lines of `in` to the end of a file and flushes it to the disk.
void copy_lines(std::ifstream& in, const std::vector<Line>& lines, const std::filesystem::path& to,
                std::ios::openmode mode) {
  std::ofstream out(to, mode | std::ios::binary);
  std::vector<char> piece(kLongestLine);
  for (const Line& line : lines) {
    in.seekg(static_cast<std::streamoff>(line.begin));
    for (std::uintmax_t left = line.end - line.begin; left > 0 && in && out;) {
      const auto size = static_cast<std::streamsize>(std::min<std::uintmax_t>(left, piece.size()));
      in.read(piece.data(), size);
      out.write(piece.data(), size);
      if (size == static_cast<std::streamsize>(left) && piece[static_cast<std::size_t>(size) - 1] != '\n') out << '\n';
      left -= static_cast<std::uintmax_t>(size);
      activity::moved();
    }
  }
  out.flush();
  PB_CHECK(in && out, "cannot copy lines to {}: {}", to.string(), std::strerror(errno));
  flush_to_disk(to);
}

// Keeps only the lines of steps up to the resumed one in the file, and returns the last step that has one.
std::int64_t tidy(const std::filesystem::path& path, std::int64_t resumed_step) {
  activity::reading(path);
  std::ifstream in(path, std::ios::binary);
  PB_CHECK(in, "cannot read {}: {}", path.string(), std::strerror(errno));
  const std::vector<Line> lines = read_lines(in, path);
  std::vector<Line> kept, odd;
  for (const Line& line : lines) {
    if (line.step == 0) {
      odd.push_back(line);
    } else if (line.step <= resumed_step) {
      kept.push_back(line);
    }
  }
  std::ranges::stable_sort(kept, {}, &Line::step);
  std::vector<Line> once;
  for (const Line& line : kept) {
    if (once.empty() || once.back().step < line.step) {
      once.push_back(line);
    } else {
      odd.push_back(line);
    }
  }

  if (!odd.empty()) {  // first, so that a kill leaves them in one file or in both
    const std::filesystem::path aside = path.string() + ".odd";
    std::ranges::sort(odd, {}, &Line::number);
    copy_lines(in, odd, aside, std::ios::app);
    log::warn(
        "{}: moved {} lines to {} that belong to no step, or to one that already has a line; the first was line {}",
        path.string(), odd.size(), aside.string(), odd[0].number);
  }
  const bool already_first =
      std::ranges::equal(once, lines | std::views::take(once.size()), {}, &Line::number, &Line::number);
  if (already_first) {
    if (once.size() < lines.size()) std::filesystem::resize_file(path, once.empty() ? 0 : once.back().end);
  } else {
    const std::filesystem::path whole = path.string() + ".tmp";
    copy_lines(in, once, whole, std::ios::trunc);
    std::filesystem::permissions(whole, std::filesystem::status(path).permissions());
    rename_durably(whole, path);
  }
  return once.empty() ? 0 : once.back().step;
}

json to_json(const StepStats& stats) {
  json line = {{"step", stats.step}, {"epoch", stats.epoch}, {"samples", stats.samples}, {"loss", stats.loss}};
  for (const auto& [term, value] : stats.term_loss) line[term + "_loss"] = value;
  for (const auto& [term, value] : stats.term_accuracy) line[term + "_accuracy"] = value;
  line["learning_rate"] = stats.learning_rate;
  line["gradient_norm"] = stats.gradient_norm;
  line["seconds"] = stats.seconds;
  for (std::size_t i = 0; i < kStepPhases; ++i) {
    line["phase_seconds"][std::string(names(Phase())[i])] = stats.phase_seconds[i];
  }
  line["gather_seconds"] = stats.gather_seconds;
  if (!stats.bucket_ready.empty()) line["bucket_ready"] = stats.bucket_ready;
  line["checkpoint_seconds"] = stats.checkpoint_seconds;
  if (!stats.skipped.empty()) line["skipped"] = stats.skipped;
  return line;
}

}  // namespace

std::string jsonl_line(const StepStats& stats) {
  return json_text(to_json(stats));
}

std::string first_saved_line(const std::filesystem::path& path) {
  const json::json_pointer saves("/checkpoint_seconds"), waited("/phase_seconds/checkpoint");
  std::ifstream lines(path);
  for (std::string text; std::getline(lines, text);) {
    const auto line = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (line.contains(saves)) {
      if (line[saves].is_array() && !line[saves].empty()) return text;
      continue;
    }
    // Until 0.1 a step ended with its save.
    if (line.contains(waited) && line[waited].is_number() && line[waited].get<double>() > 0) return text;
  }
  return "";
}

JsonlSink::JsonlSink(std::filesystem::path path, std::int64_t resumed_step, const std::string& last_line)
    : path_(std::filesystem::weakly_canonical(path)) {  // a link stays a link
  const std::filesystem::file_status status = std::filesystem::status(path_);
  PB_CHECK(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status),
           "expected {} to be a file for the metrics, found a {}: move it away", path_.string(),
           std::filesystem::is_directory(status) ? "folder" : "device or pipe");
  out_.open(path_, std::ios::app);  // before anything changes
  PB_CHECK(out_, "cannot open {} for writing: {}", path_.string(), std::strerror(errno));
  out_.close();
  if (resumed_step == 0 && !std::filesystem::is_empty(path_)) {
    log::info("no checkpoint: the run starts again, and the metrics of its last attempt are now {}",
              put_aside(path_).string());
  }
  const std::int64_t last_step = resumed_step == 0 ? 0 : tidy(path_, resumed_step);
  out_.open(path_, std::ios::app);
  if (last_step < resumed_step && !last_line.empty()) out_ << last_line << '\n' << std::flush;
  PB_CHECK(out_, "cannot write {}: {}", path_.string(), std::strerror(errno));
}

JsonlSink::~JsonlSink() {
  if (waiting_.empty() || write_waiting()) return;
  log::warn("{}: {} lines are lost, because the disk is full", path_.string(), std::ranges::count(waiting_, '\n'));
}

void JsonlSink::record(const StepStats& stats) {
  const bool waited = !waiting_.empty();
  waiting_ += jsonl_line(stats) + '\n';
  if (write_waiting() || waited) return;
  log::warn("cannot write {}; its lines are kept until there is room", path_.string());
}

// Leaves the file as it was if there is no room.
bool JsonlSink::write_waiting() {
  std::error_code no_answer;
  const std::uintmax_t before = std::filesystem::file_size(path_, no_answer);
  out_ << waiting_ << std::flush;
  if (out_) {
    waiting_.clear();
    return true;
  }
  out_.close();
  out_.clear();
  if (!no_answer && before < std::filesystem::file_size(path_, no_answer)) {
    std::filesystem::resize_file(path_, before, no_answer);  // half a line
  }
  out_.open(path_, std::ios::app);
  return false;
}

}  // namespace pixelbert::metrics
