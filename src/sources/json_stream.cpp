#include "sources/json_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <istream>
#include <nlohmann/json.hpp>
#include <set>
#include <streambuf>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "core/text_lines.h"
#include "sources/json_fields.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::size_t kEscape = 6;  // characters of \ud83d

enum class Sequence { Whole, Broken, Cut };

// Classifies the sequence at the start of `text` and sets `length` to its length, or to that of its maximal valid part
// when it is broken. (Unicode, table 3-7.)
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

// A file as a stream of JSON in valid UTF-8. Its errors do not name the file.
class RepairedFile : public std::streambuf {
 public:
  explicit RepairedFile(const std::filesystem::path& path) : fd_(open_for_reading(path)) {}

  std::int64_t replaced() const { return utf8_repair_.replaced() + json_repair_.replaced(); }

 protected:
  int_type underflow() override {
    repaired_.clear();
    while (repaired_.empty() && !ended_) {
      const ssize_t n = ::read(fd_.get(), raw_.data(), raw_.size());
      if (n < 0 && errno == EINTR) continue;
      PB_CHECK(n >= 0, "cannot be read: {}", std::strerror(errno));
      ended_ = n == 0;
      utf8_.clear();
      ended_ ? utf8_repair_.finish(utf8_) : utf8_repair_.append({raw_.data(), static_cast<std::size_t>(n)}, utf8_);
      json_repair_.append(utf8_, repaired_);
      if (ended_) json_repair_.finish(repaired_);
    }
    if (repaired_.empty()) return traits_type::eof();
    setg(repaired_.data(), repaired_.data(), repaired_.data() + repaired_.size());
    return traits_type::to_int_type(*gptr());
  }

 private:
  FileDescriptor fd_;
  std::vector<char> raw_ = std::vector<char>(std::size_t{1} << 20);
  std::string utf8_, repaired_;
  Utf8Repair utf8_repair_;
  JsonRepair json_repair_;
  bool ended_ = false;
};

// The code unit of an escape such as \ud83d; -1 when `text` does not begin with a complete one.
int code_unit(std::string_view text) {
  if (text.size() < kEscape || !text.starts_with("\\u")) return -1;
  int unit = -1;
  const char* end = text.data() + kEscape;
  const auto [stop, error] = std::from_chars(text.data() + 2, end, unit, 16);
  return error == std::errc() && stop == end && unit >= 0 ? unit : -1;
}

bool is_high(int unit) {
  return unit >= 0xD800 && unit < 0xDC00;
}

bool is_low(int unit) {
  return unit >= 0xDC00 && unit < 0xE000;
}

bool is_in_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '.';
}

// A number that reads as infinite, or Python's NaN or Infinity.
bool is_not_finite(std::string_view word) {
  if (word == "NaN" || word == "Infinity" || word == "-Infinity") return true;
  constexpr std::size_t kSafeDigits = 300;
  const bool is_number = word[0] == '-' || (word[0] >= '0' && word[0] <= '9');
  if (!is_number || (word.size() < kSafeDigits && word.find_first_of("eE") == word.npos)) return false;
  if (word.find_first_not_of("0123456789+-.eE") != word.npos) return false;
  return std::isinf(std::strtod(std::string(word).c_str(), nullptr));
}

// Builds the wanted objects from the parser's events, and keeps nothing else.
class ObjectReader : public json::json_sax_t {
 public:
  bool null() override { return take(nullptr); }
  bool boolean(bool value) override { return take(value); }
  bool number_integer(std::int64_t value) override { return take(value); }
  bool number_unsigned(std::uint64_t value) override { return take(value); }
  bool number_float(double value, const std::string&) override { return take(value); }
  bool string(std::string& value) override { return take(std::move(value)); }
  bool binary(json::binary_t&) override { return true; }  // not in JSON
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    if (open_.empty()) {
      name_outside(name);
    } else {
      key_ = std::move(name);
    }
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    std::string_view what = error.what();  // "[json.exception.parse_error.101] parse error at line 1, ..."
    what.remove_prefix(std::min(what.find(']') + 2, what.size()));
    fail("is not valid JSON: " + one_line(what, 300));
  }

 protected:
  int depth() const { return depth_; }

  // Called outside the objects being built: whether to build a container that opens, ...
  virtual bool is_wanted(const json& empty_container) = 0;
  virtual void value_outside(const json& value) = 0;
  virtual void name_outside(const std::string& /*name*/) {}
  virtual void closed_outside() {}
  virtual std::string where() const { return ""; }
  // ... and for a finished object.
  virtual void built(const json& object) = 0;

 private:
  static constexpr int kDeepest = 200;  // libraries recurse; no data set of any source comes near

  json* put(json value) {
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
    json& member = (*open_.back())[key_];
    member = std::move(value);
    return &member;
  }

  bool take(json value) {
    if (open_.empty()) {
      value_outside(value);
    } else {
      put(std::move(value));
    }
    return true;
  }

  bool open(json container) {
    if (!open_.empty()) {
      open_.push_back(put(std::move(container)));
    } else if (is_wanted(container)) {
      object_ = std::move(container);
      open_.push_back(&object_);
    }
    ++depth_;
    PB_CHECK(depth_ <= kDeepest, "{}lists and objects are nested more than {} deep", where(), kDeepest);
    return true;
  }

  bool close() {
    --depth_;
    if (open_.empty()) {
      closed_outside();
      return true;
    }
    open_.pop_back();
    if (open_.empty()) built(std::exchange(object_, nullptr));
    return true;
  }

  int depth_ = 0;            // of all containers
  json object_;              // being built
  std::vector<json*> open_;  // its open containers
  std::string key_;
};

// Visits the objects of a file's top-level lists.
class ListReader : public ObjectReader {
 public:
  ListReader(const std::map<std::string, Visit>& lists, const VisitField& visit_field)
      : lists_(lists), visit_field_(visit_field) {}

  // The place, for a message: ", images[3]". Empty outside the lists.
  std::string place() const { return visit_ == nullptr ? "" : fmt::format(", {}[{}]", name_, index_); }

  bool has_seen(const std::string& list) const { return seen_.contains(list); }

 protected:
  bool is_wanted(const json& container) override {
    if (visit_ != nullptr) {
      PB_CHECK(container.is_object(), "expected an object, found a list");
      return true;
    }
    if (depth() == 0) {
      const bool is_list = lists_.contains("");
      PB_CHECK(container.is_array() == is_list, "expected {}, found {}",
               is_list ? "a list of objects" : "an object that holds lists", described(container));
      if (is_list) enter("");
    } else if (depth() == 1 && lists_.contains(name_)) {
      PB_CHECK(container.is_array(), "\"{}\": expected a list, found an object", name_);
      enter(name_);
    }
    return false;
  }

  void value_outside(const json& value) override {
    PB_CHECK(depth() > 0, "expected a list or an object, found {}", described(value));
    PB_CHECK(visit_ == nullptr, "expected an object, found {}", described(value));
    if (depth() != 1 || lists_.contains("")) return;
    PB_CHECK(!lists_.contains(name_), "\"{}\": expected a list, found {}", name_, described(value));
    if (visit_field_) visit_field_(name_, value);
  }

  void name_outside(const std::string& name) override {
    if (depth() == 1) name_ = name;
  }

  void closed_outside() override { visit_ = nullptr; }  // outside the objects only the list itself can close

  std::string where() const override { return visit_ != nullptr || name_.empty() ? "" : described(name_) + ": "; }

  void built(const json& object) override {
    (*visit_)(object);
    ++index_;
  }

 private:
  void enter(const std::string& name) {
    PB_CHECK(seen_.insert(name).second, "has the list \"{}\" twice", name);
    visit_ = &lists_.at(name);
    index_ = 0;
  }

  const std::map<std::string, Visit>& lists_;
  const VisitField& visit_field_;
  std::set<std::string> seen_;
  std::string name_;              // the last key of the outermost object
  const Visit* visit_ = nullptr;  // of the list being read
  std::int64_t index_ = 0;        // of its next object
};

// Visits a line that is one object.
class LineReader : public ObjectReader {
 public:
  explicit LineReader(const Visit& visit) : visit_(visit) {}

 protected:
  bool is_wanted(const json& container) override {
    PB_CHECK(container.is_object(), "expected an object, found a list");
    return true;
  }
  void value_outside(const json& value) override { fail("expected an object, found " + described(value)); }
  void built(const json& object) override { visit_(object); }

 private:
  const Visit& visit_;
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

void JsonRepair::repair(std::string_view piece, bool is_last, std::string& out) {
  std::string joined;
  if (!waiting_.empty()) {
    joined = std::exchange(waiting_, {}).append(piece);
    piece = joined;
  }
  while (!piece.empty()) {
    const std::size_t taken =
        in_string_ ? take_from_string(piece, is_last, out) : take_from_outside(piece, is_last, out);
    if (taken == 0) break;  // needs the next piece
    piece.remove_prefix(taken);
  }
  waiting_ = piece;
}

std::size_t JsonRepair::take_from_string(std::string_view rest, bool is_last, std::string& out) {
  if (rest[0] == '\\') return take_escape(rest, is_last, out);
  if (rest[0] == '"' || rest[0] == '\n') {  // no string spans lines: a broken one ends here
    in_string_ = false;
    out += rest[0];
    return 1;
  }
  const std::size_t run = std::min(rest.find_first_of("\"\\\n"), rest.size());
  out.append(rest.substr(0, run));
  return run;
}

std::size_t JsonRepair::take_escape(std::string_view rest, bool is_last, std::string& out) {
  const auto copy = [&](std::size_t length) {
    out.append(rest.substr(0, length));
    return std::min(length, rest.size());
  };
  if (rest.size() < 2 * kEscape && !is_last) return 0;
  const int unit = code_unit(rest);
  if (unit < 0) return copy(2);  // "\n", or an error for the parser to find
  if (!is_high(unit) && !is_low(unit)) return copy(kEscape);
  if (is_high(unit) && is_low(code_unit(rest.substr(kEscape)))) return copy(2 * kEscape);
  out.append(kReplacement);
  ++replaced_;
  return kEscape;
}

std::size_t JsonRepair::take_from_outside(std::string_view rest, bool is_last, std::string& out) {
  std::size_t run = 0;
  while (run < rest.size() && is_in_word(rest[run])) ++run;
  if (run == 0) {
    in_string_ = rest[0] == '"';
    out += rest[0];
    return 1;
  }
  constexpr std::size_t kLongestWord = 4096;  // a longer one is no number: leave it to the parser
  if (run == rest.size() && !is_last && run < kLongestWord) return 0;
  const std::string_view word = rest.substr(0, run);
  is_not_finite(word) ? out.append(fmt::format("{}", kNotFinite)) : out.append(word);
  return run;
}

std::int64_t for_each_object(const std::filesystem::path& file, const std::map<std::string, Visit>& lists,
                             const VisitField& visit_field) {
  RepairedFile buffer(file);
  std::istream in(&buffer);
  in.exceptions(std::ios::badbit);  // lets exceptions of reading through
  ListReader reader(lists, visit_field);
  try {
    json::sax_parse(in, &reader);
  } catch (const Error& error) {
    throw Error(fmt::format("{}{}: {}", file.string(), reader.place(), one_line(error.what())));
  }
  for (const auto& [name, visit] : lists) {
    PB_CHECK(reader.has_seen(name), "{} has no list \"{}\": is it the right file?", file.string(), name);
  }
  return buffer.replaced();
}

std::int64_t for_each_line(const std::filesystem::path& file, const Visit& visit) {
  RepairedFile buffer(file);
  std::istream in(&buffer);
  in.exceptions(std::ios::badbit);
  bool is_empty = true;
  std::int64_t number = 1;
  try {
    for (std::string line; std::getline(in, line); ++number) {
      const std::string_view content = without_byte_order_mark(line);
      if (content.find_first_not_of(" \t\r") == content.npos) continue;
      is_empty = false;
      LineReader reader(visit);
      json::sax_parse(content, &reader);
    }
  } catch (const Error& error) {
    throw Error(fmt::format("{}, line {}: {}", file.string(), number, one_line(error.what())));
  }
  PB_CHECK(!is_empty, "{}: expected an object on each line (JSON Lines), found no line", file.string());
  return buffer.replaced();
}

}  // namespace pixelbert::sources
