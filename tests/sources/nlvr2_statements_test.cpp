#include "sources/nlvr2_statements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "core/check.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/sources/annotation_files.h"
#include "tests/support/shared_data.h"

namespace pixelbert::sources {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Counts;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

TEST(Nlvr2Identifiers, ComeBackFromTheirNumbers) {
  std::set<std::int64_t> ids;
  for (const char* identifier : {"dev-850-0-0", "dev-850-2-0", "dev-850-2-1", "dev-0-0-0",
                                 "test1-2147483647-65535-65535", "train-10171-3-1", "a-b-1-2-3"}) {
    const auto [prefix, id] = parse_nlvr2_identifier(identifier);
    EXPECT_EQ(nlvr2_identifier(prefix, id), identifier);
    EXPECT_GE(id, 0);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 7U);
  EXPECT_EQ(parse_nlvr2_identifier("a-b-1-2-3").prefix, "a-b");
  EXPECT_EQ(parse_nlvr2_identifier("dev-850-2-1").id, (std::int64_t{850} << 32) + (2 << 16) + 1);
}

TEST(Nlvr2Identifiers, OfOneSentenceShareItsNumber) {
  const auto sentence = [](const char* identifier) { return nlvr2_sentence(parse_nlvr2_identifier(identifier).id); };
  EXPECT_EQ(sentence("dev-850-0-1"), sentence("dev-850-65535-1"));
  EXPECT_NE(sentence("dev-850-0-1"), sentence("dev-850-0-0"));
  EXPECT_NE(sentence("dev-850-0-1"), sentence("dev-851-0-1"));
}

TEST(Nlvr2Identifiers, ThatWouldNotComeBackAreRefused) {
  for (const char* identifier :
       {"", "dev", "dev-1-2", "1-2-3", "-1-2-3", "dev-1-2-x", "dev-1-2-", "dev-1-02-3", "dev-1-+2-3", "dev-1-65536-0",
        "dev-1-0-65536", "dev-2147483648-0-0", "dev-99999999999999999999-0-0"}) {
    EXPECT_THAT([&] { parse_nlvr2_identifier(identifier); },
                ThrowsMessage<Error>(HasSubstr(fmt::format("(split, set, pair, sentence), found '{}'", identifier))))
        << identifier;
  }
}

json statement(const std::string& identifier, const std::string& sentence, const json& more) {
  json line = {{"identifier", identifier}, {"sentence", sentence}};
  line.update(more);
  return line;
}

class ReadNlvr2 : public test::AnnotationFiles {
 protected:
  ReadNlvr2() { options_.images = images(); }

  void write_images(const std::string& stem) {
    for (const char* side : {"-img0.png", "-img1.png"}) write_image(stem + side);
  }

  Corpus read(const std::vector<json>& lines) {
    std::string content;
    for (const json& line : lines) content += line.dump() + "\n";
    options_.statements = {text_file("dev.json", content)};
    return read_nlvr2(options_);
  }

  Nlvr2Options options_;
};

// The images are JPEG in spite of their names, like many of NLVR2's.
TEST_F(ReadNlvr2, GathersTheStatementsAboutTwoImages) {
  write_images("dev/dev-0-0");
  write_images("dev/dev-0-1");
  const Corpus corpus = read({statement("dev-0-0-0", "Left. ", {{"label", "True"}}),
                              statement("dev-0-1-0", "Left.", {{"label", "false"}}),
                              statement("dev-0-0-1", "Both.", {{"label", "FALSE"}})});
  EXPECT_THAT(records(corpus), ElementsAre("0+1: 0 Left. [0] 1 1/1 | 1 Both. [1] 0 1/1", "2+3: 65536 Left. [0] 0 1/1"));
  EXPECT_EQ(corpus.header.source, "nlvr2");
  EXPECT_EQ(corpus.header.task, "nlvr2");
  EXPECT_EQ(corpus.header.options,
            (std::map<std::string, std::string>{{"identifiers", "dev"}, {"statements", "dev.json"}}));
}

TEST_F(ReadNlvr2, FindsImagesWhereTheArchivesHaveThem) {
  write_images("train/17/train-0-0");
  write_images("elsewhere/deep/down/train-1-0");
  const Corpus corpus = read({statement("train-0-0-0", "A.", {{"directory", 17}, {"label", "True"}}),
                              statement("train-1-0-0", "B.", {{"directory", "18"}, {"label", "True"}})});
  EXPECT_EQ(records(corpus).size(), 2U);
  EXPECT_EQ(corpus.header.options.at("identifiers"), "train");
}

TEST_F(ReadNlvr2, OfAHiddenTestSetHasNoAnswers) {
  write_images("dev-0-0");
  EXPECT_THAT(records(read({statement("dev-0-0-0", "Left.", json::object())})), ElementsAre("0+1: 0 Left. [0]"));
}

TEST_F(ReadNlvr2, LeavesOutBothImagesWhereOneIsMissing) {
  write_images("dev-0-0");
  write_images("dev-0-1");
  fs::remove(images() / "dev-0-1-img1.png");
  ShardOptions output;
  output.out = folder_.path() / "out";
  write_corpus(output, read({statement("dev-0-0-0", "A.", {{"label", "True"}}),
                             statement("dev-0-1-0", "B.", {{"label", "True"}}),
                             statement("dev-0-0-0", "A.", {{"label", "True"}})}));
  const shards::ShardSet set(output.out);
  EXPECT_EQ(set.images(), 2);
  EXPECT_EQ(set.texts(), 1);
  EXPECT_EQ(set.manifest().skipped, (Counts{{"duplicate-text-id", 1}, {"missing", 1}}));
}

TEST_F(ReadNlvr2, RefusesTwoStatementsWithOneIdentifier) {
  write_images("dev-0-0");
  const json first = statement("dev-0-0-0", "A.", {{"label", "True"}});
  EXPECT_THAT(
      [&] { read({first, statement("dev-0-0-0", "B.", {{"label", "True"}})}); },
      ThrowsMessage<Error>(HasSubstr("dev.json: different texts have the same id: 0 is \"A.\" about dev-0-0-img0.png "
                                     "(answer 1) and \"B.\" about")));
  EXPECT_THAT([&] { read({first, statement("dev-0-0-0", "A.", {{"label", "False"}})}); },
              ThrowsMessage<Error>(HasSubstr("(answer 1) and \"A.\" about dev-0-0-img0.png (answer 0)")));
}

TEST_F(ReadNlvr2, TakesTheImageOfItsDirectoryWhereSeveralHaveOne) {
  for (const char* side : {"-img0.png", "-img1.png"}) {
    write_image(std::string("train/17/train-0-0") + side);
    write_image(std::string("train/18/train-0-0") + side, 16);
  }
  const json line = statement("train-0-0-0", "A.", {{"directory", 18}, {"label", "True"}});
  EXPECT_EQ(read({line}).record(0).images[1].width, 16);
  const json without = statement("train-0-0-0", "A.", {{"label", "True"}});
  EXPECT_THAT([&] { read({without}).record(0); }, ThrowsMessage<Error>(HasSubstr("2 files have this name: ")));
}

TEST_F(ReadNlvr2, RefusesADirectoryThatIsNestedTooDeep) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  options_.statements = {
      text_file("dev.json", R"({"identifier": "dev-0-0-0", "sentence": "A.", "directory": )" + deep + "}")};
  EXPECT_THAT([&] { read_nlvr2(options_); },
              ThrowsMessage<Error>(HasSubstr("dev.json, line 1: lists and objects are nested more than 200 deep")));
}

TEST_F(ReadNlvr2, NamesTheLineThatIsWrong) {
  const json good = statement("dev-0-0-0", "A.", {{"label", "True"}});
  const auto refused = [&](const json& line, const std::string& message) {
    EXPECT_THAT([&] { read({good, line}); }, ThrowsMessage<Error>(HasSubstr("dev.json, line 2" + message)));
  };
  refused(statement("dev-0-1-0", "A.", {{"label", "Maybe"}}),
          ": expected the label \"True\" or \"False\", found \"Maybe\"");
  refused(statement("dev-0-1-0", "A.", {{"label", true}}), ": \"label\": expected a string, found true");
  refused(statement("dev-0-1-0", "A.", {{"directory", {1}}}),
          ": \"directory\": expected a number or a string, found a");
  refused(statement("test1-0-1-0", "A.", {{"label", "True"}}), ": 'test1-0-1-0' is of another split than 'dev'");
  refused(statement("dev-0-1", "A.", {{"label", "True"}}), ": expected an identifier such as dev-850-2-0");
  refused({{"identifier", "dev-0-1-0"}}, ": expected \"sentence\" (a string), found only \"identifier\"");
  refused({{"identifier", 7}}, ": \"identifier\": expected a string, found 7");
  options_.statements = {text_file("dev.json", good.dump() + "\n{\"identifier\": ")};
  EXPECT_THAT([&] { read_nlvr2(options_); }, ThrowsMessage<Error>(HasSubstr("dev.json, line 2: is not valid JSON")));
  EXPECT_THAT([] { read_nlvr2({}); }, ThrowsMessage<UsageError>("pixelbert shard nlvr2 needs --statements FILE"));
  EXPECT_THAT([] { read_nlvr2({{"x"}, ""}); }, ThrowsMessage<UsageError>("pixelbert shard nlvr2 needs --images DIR"));
}

TEST_F(ReadNlvr2, OfRealStatementsGivesEveryIdentifierBack) {
  const fs::path data = test::shared_data("nlvr2-text");
  if (data.empty()) GTEST_SKIP() << "no real data";
  options_.statements = {data / "dev.first400.jsonl"};
  std::ifstream in(options_.statements[0]);
  std::map<std::string, json> lines;
  for (std::string line; std::getline(in, line);) {
    const json parsed = json::parse(line);
    const auto identifier = parsed.at("identifier").get<std::string>();
    lines[identifier] = parsed;
    write_images("dev/" + identifier.substr(0, identifier.rfind('-')));
  }
  ASSERT_EQ(lines.size(), 400U);

  ShardOptions output;
  output.out = folder_.path() / "out";
  write_corpus(output, read_nlvr2(options_));
  EXPECT_THAT(shards::verify(output.out).problems, IsEmpty());
  const shards::ShardSet set(output.out);
  EXPECT_EQ(set.images(), 2 * 233);
  ASSERT_EQ(set.texts(), 400);
  std::map<std::int64_t, std::set<std::string>> sentences;  // by group
  for (std::int64_t text = 0; text < set.texts(); ++text) {
    const std::string identifier = nlvr2_identifier(set.manifest().options.at("identifiers"), set.text_id(text));
    const json& line = lines.at(identifier);
    EXPECT_EQ(set.text(text), line.at("sentence"));
    EXPECT_THAT(set.answers(text), ElementsAre(shards::Answer{line.at("label") == "True" ? 1 : 0, 1, 1}));
    EXPECT_EQ(set.second_image_of_text(text), set.image_of_text(text) + 1);
    sentences[set.group(text)].insert(set.text(text));
    lines.erase(identifier);
  }
  EXPECT_THAT(lines, IsEmpty());
  for (const auto& [group, texts] : sentences) EXPECT_EQ(texts.size(), 1U) << *texts.begin();
}

}  // namespace
}  // namespace pixelbert::sources
