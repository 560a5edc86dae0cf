// Streams annotation files instead of loading them: Visual Genome's regions are 700 MB of JSON, ten times that as a
// tree.
//
// Reads them as Python would: skips a byte order mark, and accepts NaN, Infinity and 1e999 (but not in a field that is
// used).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pixelbert::sources {

// Replaces invalid UTF-8 in text that arrives in pieces: one U+FFFD for each maximal part of a sequence, as Unicode
// recommends (3.9, D93b).
class Utf8Repair {
 public:
  // Appends the repaired piece to `out`. A sequence that the end of a piece cuts waits for the next piece.
  void append(std::string_view piece, std::string& out);
  void finish(std::string& out);

  std::int64_t replaced() const { return replaced_; }

 private:
  std::string waiting_;
  std::int64_t replaced_ = 0;
};

// Replaces what files contain although JSON forbids it, in text that arrives in pieces: half a surrogate pair
// ("\ud83d") by U+FFFD, and NaN, Infinity and numbers too large for a double by kNotFinite.
class JsonRepair {
 public:
  void append(std::string_view piece, std::string& out) { repair(piece, false, out); }
  void finish(std::string& out) { repair({}, true, out); }

  std::int64_t replaced() const { return replaced_; }  // half surrogate pairs

 private:
  void repair(std::string_view piece, bool is_last, std::string& out);
  std::size_t take_from_string(std::string_view rest, bool is_last, std::string& out);
  std::size_t take_from_outside(std::string_view rest, bool is_last, std::string& out);
  std::size_t take_escape(std::string_view rest, bool is_last, std::string& out);

  std::string waiting_;
  bool in_string_ = false;
  std::int64_t replaced_ = 0;
};

using Visit = std::function<void(const nlohmann::json& object)>;
using VisitField = std::function<void(const std::string& name, const nlohmann::json& value)>;

// Calls lists.at(name)(object) for each object of these top-level lists, in the file's order: the lists of {"images":
// [...], "annotations": [...]} have their names, a file that is one list has the name "". Skips other lists. Passes
// single values beside the lists, such as "data_subtype": "train2014", to visit_field. Returns the number of invalid
// UTF-8 sequences and half surrogate pairs that were replaced.
//
// Throws Error with the file and the place when it is not such JSON, lacks a list or has it twice; puts both in front
// of a visitor's errors.
std::int64_t for_each_object(const std::filesystem::path& file, const std::map<std::string, Visit>& lists,
                             const VisitField& visit_field = {});

// The same for JSON Lines: calls visit(object) for each line that is not blank. Throws Error when there is none.
std::int64_t for_each_line(const std::filesystem::path& file, const Visit& visit);

}  // namespace pixelbert::sources
