#include "sources/json_stream.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <istream>
#include <nlohmann/json.hpp>
#include <streambuf>
#include <vector>

#include "core/check.h"
#include "core/files.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Sequence { Whole, Broken, Cut };

// Looks at the sequence that starts `text` and sets `length` to what it spans: all of it when whole, its maximal valid
// part when broken. (Unicode, table 3-7.)
Sequence look_at(std::string_view text, std::size_t& length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  length = 1;
  if (lead < 0x80) return Sequence::Whole;
  const std::size_t wanted = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (wanted == 0) return Sequence::Broken;
  unsigned char low = 0x80, high = 0xBF;  // of the second byte; no overlong forms, no surrogates, nothing past U+10FFFF
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (; length < wanted; ++length, low = 0x80, high = 0xBF) {
    if (length == text.size()) return Sequence::Cut;
    if (byte(length) < low || byte(length) > high) return Sequence::Broken;
  }
  return Sequence::Whole;
}

// A file as a stream of valid UTF-8.
class RepairedFile : public std::streambuf {
 public:
  explicit RepairedFile(const std::filesystem::path& path) : path_(path), fd_(open_for_reading(path)) {}

  std::int64_t replaced() const { return repair_.replaced(); }

 protected:
  int_type underflow() override {
    repaired_.clear();
    while (repaired_.empty() && !ended_) {
      const ssize_t n = ::read(fd_.get(), raw_.data(), raw_.size());
      if (n < 0 && errno == EINTR) continue;
      PB_CHECK(n >= 0, "cannot read {}: {}", path_.string(), std::strerror(errno));
      ended_ = n == 0;
      ended_ ? repair_.finish(repaired_) : repair_.append({raw_.data(), static_cast<std::size_t>(n)}, repaired_);
    }
    if (repaired_.empty()) return traits_type::eof();
    setg(repaired_.data(), repaired_.data(), repaired_.data() + repaired_.size());
    return traits_type::to_int_type(*gptr());
  }

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
  std::vector<char> raw_ = std::vector<char>(std::size_t{1} << 20);
  std::string repaired_;
  Utf8Repair repair_;
  bool ended_ = false;
};

}  // namespace

void Utf8Repair::append(std::string_view piece, std::string& out) {
  std::string joined;
  if (!waiting_.empty()) {
    joined = std::exchange(waiting_, {}).append(piece);
    piece = joined;
  }
  std::size_t copied = 0, at = 0;  // the run between them is valid and not yet in `out`
  while (at < piece.size()) {
    std::size_t length;
    const Sequence sequence = look_at(piece.substr(at), length);
    if (sequence == Sequence::Cut) break;
    if (sequence == Sequence::Broken) {
      out.append(piece.substr(copied, at - copied)).append(kReplacement);
      copied = at + length;
      ++replaced_;
    }
    at += length;
  }
  out.append(piece.substr(copied, at - copied));
  waiting_ = piece.substr(at);
}

void Utf8Repair::finish(std::string& out) {
  if (std::exchange(waiting_, {}).empty()) return;
  out.append(kReplacement);
  ++replaced_;
}

std::int64_t for_each_object(const std::filesystem::path& file, const Visit& visit, const Visit& visit_field) {
  RepairedFile buffer(file);
  std::istream in(&buffer);
  using Event = json::parse_event_t;
  std::string list;       // the top-level key whose value is being read
  bool in_list = false;   // ... and that value is a list
  int object_depth = 0;   // of the objects to visit: 1 in [{...}], 2 in {"images": [{...}]}
  std::int64_t seen = 0;  // objects of all lists

  const auto callback = [&](int depth, Event event, json& value) {
    if (depth == 0 && (event == Event::array_start || event == Event::object_start)) {
      in_list = event == Event::array_start;
      object_depth = in_list ? 1 : 2;
    } else if (depth == 1 && object_depth == 2 && event == Event::key) {
      list = value.get<std::string>();
      in_list = false;
    } else if (depth == 1 && object_depth == 2 && event == Event::array_start) {
      in_list = true;
    }
    if (visit_field && depth == 1 && object_depth == 2 && event == Event::value && !in_list) visit_field(list, value);
    if (!in_list || depth != object_depth || event != Event::object_end) return true;
    visit(list, value);
    ++seen;
    return false;  // drops the object: only one is held at a time
  };
  try {
    const json root = json::parse(in, callback);
    PB_CHECK(root.is_structured(), "{}: expected a JSON list or object", file.string());
  } catch (const json::parse_error& error) {
    fail(fmt::format("{} is not valid JSON (object {}, byte {}): {}", file.string(), seen, error.byte, error.what()));
  } catch (const json::exception& error) {
    fail(fmt::format("{}: object {} of the file{} is not what was expected: {}", file.string(), seen,
                     list.empty() ? "" : fmt::format(" (in \"{}\")", list), error.what()));
  }
  return buffer.replaced();
}

std::int64_t for_each_line(const std::filesystem::path& file, const std::function<void(const json&)>& visit) {
  RepairedFile buffer(file);
  std::istream in(&buffer);
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const auto place = [&] { return fmt::format("{}, line {}", file.string(), number); };
    try {
      visit(json::parse(line));
    } catch (const json::parse_error& error) {
      fail(fmt::format("{}, is not valid JSON: {}", place(), error.what()));
    } catch (const json::exception& error) {
      fail(fmt::format("{}, is not what was expected: {}", place(), error.what()));
    } catch (const Error& error) {
      fail(fmt::format("{}: {}", place(), error.what()));
    }
  }
  return buffer.replaced();
}

}  // namespace pixelbert::sources
