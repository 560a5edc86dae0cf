// Annotation files, read without holding them: Visual Genome's regions are 700 MB of JSON, ten times that as a tree.
//
// Read as Python would: a byte order mark in front is skipped, and NaN, Infinity and 1e999 are values (which no field
// that is used may have).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pixelbert::sources {

// Replaces what is not UTF-8 by U+FFFD, one for each maximal part of a sequence as Unicode recommends (3.9, D93b), in
// text that comes in pieces.
class Utf8Repair {
 public:
  // Appends the repaired piece to `out`. A sequence cut by the end of a piece waits for the next one.
  void append(std::string_view piece, std::string& out);
  void finish(std::string& out);

  std::int64_t replaced() const { return replaced_; }

 private:
  std::string waiting_;
  std::int64_t replaced_ = 0;
};

// Replaces what JSON's grammar has no place for but files hold: half a surrogate pair ("\ud83d") by U+FFFD, and NaN,
// Infinity and numbers beyond a double by kNotFinite. In text that comes in pieces, as above.
class JsonRepair {
 public:
  void append(std::string_view piece, std::string& out) { repair(piece, false, out); }
  void finish(std::string& out) { repair({}, true, out); }

  std::int64_t replaced() const { return replaced_; }  // halves of pairs

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

// Calls lists.at(name)(object) for each object of these top-level lists, in the file's order: the lists of
// {"images": [...], "annotations": [...]} by their names, a file that is one list as "". Other lists are passed over.
// Single values beside the lists, such as "data_subtype": "train2014", go to visit_field. Returns the number of invalid
// UTF-8 sequences and halves of surrogate pairs that were replaced.
//
// Error with the file and the place when it is not such JSON, lacks a list or has it twice; errors of a visitor get
// both in front.
std::int64_t for_each_object(const std::filesystem::path& file, const std::map<std::string, Visit>& lists,
                             const VisitField& visit_field = {});

// JSON Lines: calls visit(object) for each line that is not blank; Error when there is none. Returns and fails alike.
std::int64_t for_each_line(const std::filesystem::path& file, const Visit& visit);

}  // namespace pixelbert::sources
