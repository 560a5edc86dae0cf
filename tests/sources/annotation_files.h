// Makes a data set as a user unpacks it, file by file.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/files.h"
#include "sources/corpus.h"
#include "tests/images/encode.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::test {

using Counts = std::map<std::string, std::int64_t>;

class AnnotationFiles : public ::testing::Test {
 protected:
  AnnotationFiles() { std::filesystem::create_directories(images()); }

  std::filesystem::path images() const { return folder_.path() / "images"; }

  void write_image(const std::string& name, std::int64_t width = 8) {
    std::filesystem::create_directories((images() / name).parent_path());
    const Bytes bytes = jpeg(gradient(8, width, 3), 8, width);
    write_file(images() / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  std::string text_file(const std::string& name, std::string_view content) {
    write_file(folder_.path() / name, content);
    return folder_.path() / name;
  }

  std::string file(const std::string& name, const nlohmann::json& content) { return text_file(name, content.dump()); }

  // "7: one | two" for each record; "7+8: one" for two images.
  static std::vector<std::string> records(const sources::Corpus& corpus) {
    std::vector<std::string> lines;
    for (std::int64_t i = 0; i < corpus.records; ++i) {
      const shards::Record record = corpus.record(i);
      std::vector<std::string> texts;
      for (const shards::Text& text : record.texts)
        texts.push_back(fmt::format("{} {}{}", text.id, text.text, of(text)));
      std::vector<std::int64_t> ids;
      for (const shards::StoredImage& one : record.images) ids.push_back(one.id);
      lines.push_back(fmt::format("{}: {}", fmt::join(ids, "+"), fmt::join(texts, " | ")));
    }
    return lines;
  }

  TemporaryFolder folder_;

 private:
  // " [group] index score/accuracy ..."; empty for captions
  static std::string of(const shards::Text& text) {
    std::string said = text.group < 0 ? "" : fmt::format(" [{}]", text.group);
    for (const auto& [index, score, accuracy] : text.answers) {
      said += fmt::format(" {} {:.2g}/{:.2g}", index, score, accuracy);
    }
    return said;
  }
};

}  // namespace pixelbert::test
