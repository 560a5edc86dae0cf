// Annotation files, read without holding them: Visual Genome's regions are 700 MB of JSON, ten times that as a tree.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
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

// Calls visit(list, object) for each object of a top-level list, in the file's order: the lists of {"images": [...],
// "annotations": [...]} by their names, a file that is one list as "". What stands beside the lists, such as
// "data_subtype": "train2014", goes to visit_field(name, value) where it is given. Returns the number of invalid UTF-8
// sequences that were replaced. Error with the file and the place when it is not such JSON, or lacks what is asked for.
using Visit = std::function<void(std::string_view name, const nlohmann::json& value)>;
std::int64_t for_each_object(const std::filesystem::path& file, const Visit& visit, const Visit& visit_field = {});

// JSON Lines: calls visit(object) for each line that is not blank. Returns and fails alike; an Error that `visit`
// throws also gets the file and the number of the line in front.
std::int64_t for_each_line(const std::filesystem::path& file, const std::function<void(const nlohmann::json&)>& visit);

}  // namespace pixelbert::sources
