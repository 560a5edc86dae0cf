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
// "annotations": [...]} by their names, a file that is one list as "". Returns the number of invalid UTF-8 sequences
// that were replaced. Error with the file and the place when it is not such JSON, or lacks what `visit` asks for.
std::int64_t for_each_object(const std::filesystem::path& file,
                             const std::function<void(std::string_view list, const nlohmann::json& object)>& visit);

}  // namespace pixelbert::sources
