#include "metrics/targets.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::metrics {
namespace {

using nlohmann::json;

TEST(ScrapeAddress, IsTheHostWhenTheEndpointListensEverywhere) {
  EXPECT_EQ(scrape_address({.port = 9100, .address = "127.0.0.1"}, "node7", 0), "127.0.0.1:9100");
  EXPECT_EQ(scrape_address({.port = 9100, .address = "10.0.0.7"}, "node7", 1), "10.0.0.7:9101");
  EXPECT_EQ(scrape_address({.port = 9100, .address = "0.0.0.0"}, "node7", 3), "node7:9103");
}

TEST(TargetsFile, ListsEachRankWhileTheJobRunsAndNoneAfterwards) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "monitoring" / "targets.json";
  {
    const TargetsFile file(path, "tiny", {{"a:9100", 0, "a"}, {"b:9100", 1, "b"}});
    EXPECT_EQ(json::parse(read_file(path)),
              json::parse(R"([{"targets": ["a:9100"], "labels": {"run": "tiny", "rank": "0", "host": "a"}},
                              {"targets": ["b:9100"], "labels": {"run": "tiny", "rank": "1", "host": "b"}}])"));
  }
  EXPECT_EQ(json::parse(read_file(path)), json::array());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path.parent_path()), {}), 1);
}

TEST(TargetsFile, DoesNotEndTheJobWhenTheFolderIsGone) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "monitoring" / "targets.json";
  {
    const TargetsFile file(path, "tiny", {});
    std::filesystem::remove_all(path.parent_path());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace pixelbert::metrics
